//! Copies for the user.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use refit_cache::{Digest, Exported, GcPolicy, Store, StoreError, Tree};

use crate::fixture::{Lab, object};

fn two_versions(lab: &Lab) -> [Tree; 2] {
    let lock = lab.lock();
    let one = lab.step(&lock, "one", &[("a.txt", b"alpha"), ("deep/b.txt", b"beta")]);
    let two = lab.step(&lock, "two", &[("a.txt", b"ALPHA"), ("c.txt", b"gamma")]);
    [one, two].map(|made| made.outputs["made"].clone())
}

#[test]
fn copies_are_written_replaced_and_left_alone() {
    let lab = Lab::new();
    let [one, two] = two_versions(&lab);
    let to = lab.path("out/adapter");
    assert_eq!(lab.store.export(&one, &to, None).unwrap(), Exported::Written);
    assert_eq!(lab.store.export(&one, &to, None).unwrap(), Exported::Unchanged);
    assert_eq!(lab.store.export(&two, &to, None).unwrap(), Exported::Written);
    assert_eq!(lab.store.measure(&to, None).unwrap(), two);
    assert_eq!(fs::read_dir(lab.path("out")).unwrap().count(), 1);
}

/// The mode bits of everybody.
fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn programs_stay_programs_beside_plain_files_of_the_same_bytes() {
    let lab = Lab::new();
    let lock = lab.lock();
    let made = lab.write("made", &[("bin/tool", b"#!/bin/sh"), ("doc/tool", b"#!/bin/sh")]);
    fs::set_permissions(made.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let plain = lab.store.measure(&made, None).unwrap();
    let tree = lab.store.ingest(&lock, &made).unwrap();
    assert_ne!(tree.digest, plain.digest, "it is content of what a step made, and of no source");
    assert_eq!(mode(&object(&lab, b"#!/bin/sh")), 0o444);

    let laid_out = lab.path("laid out");
    lab.store.hydrate(&tree, &laid_out).unwrap();
    assert_eq!((mode(&laid_out.join("bin/tool")), mode(&laid_out.join("doc/tool"))), (0o555, 0o444));
    assert_eq!(mode(&object(&lab, b"#!/bin/sh")), 0o444);
    let to = lab.path("out");
    assert_eq!(lab.store.export(&tree, &to, None).unwrap(), Exported::Written);
    assert_eq!(lab.store.export(&tree, &to, None).unwrap(), Exported::Unchanged);
    assert_eq!(mode(&to.join("bin/tool")) & 0o700, 0o700);
    assert_eq!(mode(&to.join("doc/tool")) & 0o111, 0);
    assert_eq!(lab.store.measure_copy(&to, None).unwrap(), tree);
    assert_eq!(lab.store.export(&plain, &to, None).unwrap(), Exported::Written);
    assert_eq!(mode(&to.join("bin/tool")) & 0o111, 0);

    // One file by itself likewise; the same bytes are one object.
    let program = lab.path("program");
    for executable in [true, false] {
        fs::write(&program, b"#!/bin/sh").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(if executable { 0o700 } else { 0o600 })).unwrap();
        let tree = lab.store.ingest(&lock, &program).unwrap();
        assert_eq!(tree.digest == Digest::of(b"#!/bin/sh"), !executable);
        assert!(tree.is_sound());
        lab.store.hydrate(&tree, &program).unwrap();
        assert_eq!(mode(&program), if executable { 0o555 } else { 0o444 });
        fs::remove_file(&program).unwrap();
        lab.store.export(&tree, &program, None).unwrap();
        assert_eq!(mode(&program) & 0o111 != 0, executable);
        assert_eq!(lab.store.export(&tree, &program, None).unwrap(), Exported::Unchanged);
        fs::remove_file(&program).unwrap();
    }
    assert_eq!(lab.store.usage().unwrap().objects, 1);
}

#[test]
fn copies_can_be_written_to() {
    let lab = Lab::new();
    let [one, _] = two_versions(&lab);
    let to = lab.path("out");
    lab.store.export(&one, &to, None).unwrap();
    fs::write(to.join("a.txt"), "mine").unwrap();
    assert_eq!(fs::read(object(&lab, b"alpha")).unwrap(), b"alpha");
}

#[test]
fn what_the_user_wrote_stays() {
    let lab = Lab::new();
    let [one, two] = two_versions(&lab);
    let changed = lab.path("changed");
    lab.store.export(&one, &changed, None).unwrap();
    fs::write(changed.join("a.txt"), "mine").unwrap();
    let added = lab.path("added");
    lab.store.export(&one, &added, None).unwrap();
    fs::write(added.join("notes.md"), "mine").unwrap();
    let foreign = lab.write("foreign", &[("thesis/1.tex", b"mine")]);
    for (to, file) in [(&changed, "a.txt"), (&added, "notes.md"), (&foreign, "thesis/1.tex")] {
        let error = lab.store.export(&two, to, None).unwrap_err();
        assert!(matches!(&error, StoreError::NotOurs { what, .. } if what == file), "{error}");
        assert_eq!(fs::read(to.join(file)).unwrap(), b"mine");
    }
    let file = lab.path("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(lab.store.export(&two, &file, None), Err(StoreError::NotOurs { .. })));
    assert_eq!(fs::read(file).unwrap(), b"mine");
    let many: Vec<String> = (0..9).map(|number| format!("{number}.txt")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), b"m".as_slice())).collect();
    let error = lab.store.export(&two, &lab.write("many", &many), None).unwrap_err();
    assert!(error.to_string().ends_with("0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more"), "{error}");
}

#[test]
fn an_empty_folder_holds_nothing_to_lose() {
    let lab = Lab::new();
    let [one, _] = two_versions(&lab);
    lab.store.export(&one, &lab.write("empty", &[]), None).unwrap();
    assert_eq!(lab.store.measure(&lab.path("empty"), None).unwrap(), one);
}

#[test]
fn a_copy_of_a_dropped_result_is_still_ours() {
    let lab = Lab::new();
    let [one, _] = two_versions(&lab);
    let to = lab.path("out");
    lab.store.export(&one, &to, None).unwrap();
    let lock = lab.lock();
    let drop_all = GcPolicy { keep_runs: 0, older_than: None, max_size: None, ..GcPolicy::default() };
    lab.store.gc(&lock, &drop_all).unwrap();
    assert!(!object(&lab, b"alpha").exists());
    let two = lab.step(&lock, "two", &[("a.txt", b"ALPHA")]).outputs["made"].clone();
    assert_eq!(lab.store.export(&two, &to, Some(&lock)).unwrap(), Exported::Written);
}

#[test]
fn a_store_and_its_copies_can_be_moved_together() {
    let lab = Lab::new();
    let lock = lab.lock();
    let one = lab.step(&lock, "one", &[("a.txt", b"alpha")]).outputs["made"].clone();
    drop(lock);
    let project = lab.path("project");
    let store = Store::open(&project.join(".refit")).unwrap();
    let lock = store.lock("a test", refit_cache::Wait::Fail).unwrap();
    lab.store.hydrate(&one, &lab.path("copy")).unwrap();
    let one = store.ingest(&lock, &lab.path("copy")).unwrap();
    store.export(&one, &project.join("out"), None).unwrap();
    let drop_all = GcPolicy { keep_runs: 0, older_than: None, max_size: None, ..GcPolicy::default() };
    store.gc(&lock, &drop_all).unwrap();
    drop(lock);
    fs::rename(&project, lab.path("moved")).unwrap();
    let store = Store::open(&lab.path("moved/.refit")).unwrap();
    let lock = store.lock("a test", refit_cache::Wait::Fail).unwrap();
    let next = store.ingest(&lock, &lab.write("next", &[("a.txt", b"next")])).unwrap();
    assert_eq!(store.export(&next, &lab.path("moved/out"), Some(&lock)).unwrap(), Exported::Written);
}

#[test]
fn files_and_folders_take_each_others_place() {
    let lab = Lab::new();
    let [one, _] = two_versions(&lab);
    let lock = lab.lock();
    fs::write(lab.path("report"), "<html>").unwrap();
    let file = lab.store.ingest(&lock, &lab.path("report")).unwrap();
    let to = lab.path("to");
    for tree in [&file, &one, &file, &file] {
        lab.store.export(tree, &to, Some(&lock)).unwrap();
        assert_eq!(lab.store.measure(&to, None).unwrap(), *tree);
    }
    assert!(!to.metadata().unwrap().permissions().readonly());
}

#[test]
fn a_link_is_followed() {
    let lab = Lab::new();
    let [one, two] = two_versions(&lab);
    let disk = lab.write("other disk", &[]);
    symlink(&disk, lab.path("out")).unwrap();
    lab.store.export(&one, &lab.path("out"), None).unwrap();
    lab.store.export(&two, &lab.path("out"), None).unwrap();
    assert!(lab.path("out").is_symlink());
    assert_eq!(lab.store.measure(&disk, None).unwrap(), two);
    symlink("gone", lab.path("broken")).unwrap();
    assert!(matches!(lab.store.export(&one, &lab.path("broken"), None), Err(StoreError::BrokenLink { .. })));
}
