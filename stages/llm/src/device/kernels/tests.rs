use std::path::Path;

use burn::tensor::{Device, Tensor};
use burn_cubecl::cubecl::environment;
use serde_json::json;

use super::{
    KernelMemory, KernelsKept, Table,
    choices::{Choice, Choices},
    file::{Read, path, read, write},
    table::Provenance,
};
use crate::{
    device::{runtime::keep_to_memory, tests::adapters_of_wgpu},
    model::values,
};

fn provenance(driver_version: &str) -> Provenance {
    Provenance {
        refit: "1".into(),
        runtime: "autotune/1/wgpu".into(),
        adapter: "a card".into(),
        vendor: 1,
        device: 2,
        driver: "a driver".into(),
        driver_version: driver_version.into(),
    }
}

fn choice(rows: u64, checksum: &str, fastest: usize) -> Choice {
    let key = json!({"rows": rows, "type": {"Float": "F32"}, "scale": 0.25, "transposed": null, "parts": [1, true]});
    Choice { key, checksum: checksum.into(), fastest }
}

fn choices(of: &[(&str, Choice)]) -> Choices {
    let mut choices = Choices::default();
    for (kind, choice) in of {
        choices.push(kind, choice.clone());
    }
    choices
}

fn known(folder: &Path, of: &Provenance) -> Choices {
    match read(folder, of) {
        Read::Choices(choices) => choices,
        other => panic!("{other:?}"),
    }
}

#[test]
fn choices_are_read_as_they_were_written_for_the_same_driver_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = &folder.path().join("kernels");
    let (one, other) = (provenance("1"), provenance("2"));
    assert!(matches!(read(folder, &one), Read::Nothing));
    let written = choices(&[("matmul", choice(4, "x", 3)), ("matmul", choice(8, "x", 1)), ("sum", choice(4, "y", 0))]);
    write(folder, &one, &written).unwrap();
    assert_eq!(known(folder, &one), written);
    assert!(matches!(read(folder, &other), Read::Nothing));
    fs_err::copy(path(folder, &one), path(folder, &other)).unwrap();
    assert!(matches!(read(folder, &other), Read::Unusable(reason) if reason.contains("another adapter")));
    assert_eq!(fs_err::read_dir(folder).unwrap().count(), 2, "nothing else is left there");
}

#[test]
fn every_damage_to_a_file_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, of) = (folder.path(), &provenance("1"));
    write(folder, of, &choices(&[("matmul", choice(4, "x", 3))])).unwrap();
    let path = path(folder, of);
    let whole = fs_err::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        for damaged in [&whole[..at], &changed] {
            fs_err::write(&path, damaged).unwrap();
            assert!(matches!(read(folder, of), Read::Unusable(_)), "{at}");
        }
    }
}

#[test]
fn what_is_known_stays_and_other_lists_of_kernels_make_room() {
    let mut all = choices(&[("matmul", choice(4, "old", 3)), ("matmul", choice(8, "x", 1))]);
    let newer = [("matmul", choice(4, "new", 5)), ("matmul", choice(8, "x", 2)), ("sum", choice(4, "y", 0))];
    all.add(choices(&newer));
    let expected = [("matmul", choice(8, "x", 1)), ("matmul", choice(4, "new", 5)), ("sum", choice(4, "y", 0))];
    assert_eq!(all, choices(&expected));
    assert_eq!(choices(&newer).without(&all).len(), 0);
    assert_eq!(choices(&newer).without(&choices(&expected[..1])).len(), 2);
}

#[test]
fn the_runtime_remembers_in_memory_what_it_is_told() {
    keep_to_memory();
    assert_eq!(environment::path(), Path::new("default.db"), "it makes no folder");
    let table = |device: &str| Table { of: provenance("1"), prefix: format!("autotune/1/{device}/") };
    let told = choices(&[("matmul", choice(4, "x", 3)), ("sum", choice(4, "y", 0))]);
    table("one").fill(&told);
    assert_eq!(table("one").choices(), told);
    assert_eq!(table("two").choices(), Choices::default());
    assert!(!Path::new("default.db").exists());
}

#[test]
fn wgpu_tries_no_kernels_that_were_tried_before() {
    // Opened as the best one and by its number, one adapter is two devices, which know as little of each other as two processes.
    let Some(selected) = adapters_of_wgpu("wgpu,wgpu:0") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = selected.split_at(1);
    let recall = |devices| KernelMemory::recall(folder.path(), devices, |warning| panic!("{warning}")).unwrap();

    let memory = recall(first);
    let expected = product(&first[0].device);
    let KernelsKept { remembered, tried } = memory.keep().unwrap();
    assert_eq!(remembered, 0);
    assert!(tried > 0);

    let memory = recall(second);
    assert_eq!(product(&second[0].device), expected);
    assert_eq!(memory.keep().unwrap(), KernelsKept { remembered: tried, tried: 0 });

    let file = path(folder.path(), &second[0].kernels.as_ref().unwrap().of);
    fs_err::write(&file, "damaged").unwrap();
    let mut said = Vec::new();
    KernelMemory::recall(folder.path(), second, |warning| said.push(warning)).unwrap();
    assert!(said.len() == 1 && said[0].contains("it is damaged"), "{said:?}");
    assert!(KernelMemory::recall(folder.path(), &[], |_| ()).is_none());
}

/// A product that has a choice of kernels.
fn product(device: &Device) -> Vec<f32> {
    let left = Tensor::<2>::ones([64, 96], device);
    let right = Tensor::<2>::full([96, 48], 0.5, device);
    values(left.matmul(right)).unwrap()
}
