//! From one store to another through one file, whatever becomes of the file on the way.

use std::{
    fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use refit_cache::{Imported, Lookup, Manifest, RunId, Store, StoreError, Wait};
use serde_json::json;

use crate::fixture::{Lab, damage, key, object, step};

/// A run with two results that share a file, and its file.
fn exported() -> (Lab, [Manifest; 2], RunId, PathBuf) {
    let lab = Lab::new();
    let lock = lab.lock();
    let run = lab.store.create_run(&lock).unwrap();
    let files: [&[(&str, &[u8])]; 2] =
        [&[("a.txt", b"alpha"), ("deep/er/学 习.bin", b"beta")], &[("c.txt", b"gamma"), ("same.txt", b"alpha")]];
    let made = ["one", "two"].map(|name| step(&lab.store, &lock, name, files[usize::from(name == "two")], &run));
    let folder = lab.store.run_folder(&run);
    let stages: Vec<_> = made.iter().map(stage).collect();
    fs::write(folder.join("report.json"), json!({ "stages": stages }).to_string()).unwrap();
    fs::create_dir_all(folder.join("steps/train[rank=8]")).unwrap();
    fs::write(folder.join("steps/train[rank=8]/stderr.log"), "epoch 1").unwrap();
    let to = lab.path("run.refit");
    let bundled = lab.store.export_run(&run, &to, &|_| {}).unwrap();
    assert_eq!((bundled.results, bundled.objects, bundled.bytes), (2, 3, 14));
    (lab, made, run, to)
}

/// As the report of a run has it.
fn stage(made: &Manifest) -> serde_json::Value {
    json!({ "key": made.key, "outputs": { "made": { "digest": made.outputs["made"].digest } } })
}

fn import(lab: &Lab, bytes: &[u8]) -> Result<Imported, StoreError> {
    lab.store.import(&lab.lock(), Cursor::new(bytes), Path::new("run.refit"), &|_| {})
}

/// Nothing can be found, and nothing lies about that no `gc` knows.
fn is_untouched(lab: &Lab) {
    assert!(["one", "two"].iter().all(|name| lab.store.lookup(&key(name)).unwrap() == Lookup::Absent));
    assert!(lab.store.runs().unwrap().is_empty());
    assert!(lab.store.verify(None).unwrap().is_sound());
    assert_eq!(fs::read_dir(lab.store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_run_comes_whole_to_another_store() {
    let (from, made, run, file) = exported();
    let to = Lab::new();
    let bytes = fs::read(&file).unwrap();
    let imported = import(&to, &bytes).unwrap();
    assert_eq!((imported.results, imported.new_results, imported.run_was_there), (2, 2, false));
    for manifest in &made {
        assert_eq!(to.store.lookup(&manifest.key).unwrap(), Lookup::Hit(Box::new(manifest.clone())));
    }
    let log = to.store.run_folder(&run).join("steps/train[rank=8]/stderr.log");
    assert_eq!(fs::read_to_string(log).unwrap(), "epoch 1");
    assert!(object(&to, b"alpha").metadata().unwrap().permissions().readonly());
    assert!(to.store.verify(Some(&to.lock())).unwrap().is_sound());
    let again = import(&to, &bytes).unwrap();
    assert_eq!((again.new_results, again.run_was_there), (0, true));

    // The same content gives the same file, also from there.
    let back = to.path("back.refit");
    to.store.export_run(&run, &back, &|_| {}).unwrap();
    assert_eq!(fs::read(&back).unwrap(), bytes);
    assert!(matches!(from.store.export_run(&run, &file, &|_| {}), Err(StoreError::Exists { .. })));
}

#[test]
fn single_results_need_no_run_and_what_is_gone_is_said() {
    let (lab, [one, two], run, _) = exported();
    let to = Lab::new();
    let file = lab.path("one.refit");
    lab.store.export_results(&[one.key].into(), &file, &|_| {}).unwrap();
    assert_eq!(import(&to, &fs::read(&file).unwrap()).unwrap().run, None);
    assert!(matches!(to.store.lookup(&one.key).unwrap(), Lookup::Hit(_)));
    assert_eq!(to.store.lookup(&two.key).unwrap(), Lookup::Absent);

    fs::remove_file(object(&lab, b"gamma")).unwrap();
    let bundled = lab.store.export_run(&run, &lab.path("rest.refit"), &|_| {}).unwrap();
    assert_eq!((bundled.results, bundled.left_out), (1, vec![two.used()]));
    let gone = lab.store.export_results(&[key("never")].into(), &lab.path("never.refit"), &|_| {});
    assert!(matches!(gone, Err(StoreError::NoResult { .. })));
    damage(&object(&lab, b"beta"), |bytes| bytes[0] ^= 1);
    let damaged = lab.store.export_results(&[one.key].into(), &lab.path("damaged.refit"), &|_| {});
    assert!(matches!(damaged, Err(StoreError::Corrupt { .. })));
    assert!(!lab.path("damaged.refit").exists());
}

#[test]
fn a_run_takes_along_what_it_had_and_not_what_was_made_since() {
    let (from, [one, _], run, _) = exported();
    let anew = step(&from.store, &from.lock(), "one", &[("a.txt", b"something else")], &RunId::now());
    assert_eq!(from.store.lookup(&one.key).unwrap(), Lookup::Hit(Box::new(anew.clone())));
    let file = from.path("past.refit");
    let bundled = from.store.export_run(&run, &file, &|_| {}).unwrap();
    assert_eq!((bundled.results, bundled.left_out), (2, Vec::new()));

    // A store that has another result of the step goes on finding that one, and has the run's as well.
    let to = Lab::new();
    step(&to.store, &to.lock(), "one", &[("a.txt", b"something else")], &RunId::now());
    let bytes = fs::read(&file).unwrap();
    assert_eq!(import(&to, &bytes).unwrap().new_results, 2);
    let Lookup::Hit(found) = to.store.lookup(&one.key).unwrap() else { panic!("gone") };
    assert_eq!(found.outputs, anew.outputs);
    assert_eq!(to.store.used_result(&one.used()).unwrap(), Some(one.clone()));
    assert!(to.store.verify(Some(&to.lock())).unwrap().is_sound());

    fs::remove_file(object(&from, b"beta")).unwrap();
    let bundled = from.store.export_run(&run, &from.path("rest.refit"), &|_| {}).unwrap();
    assert_eq!((bundled.results, bundled.left_out), (1, vec![one.used()]));
    let verified = from.store.verify(Some(&from.lock())).unwrap();
    assert_eq!((verified.lost_earlier.as_slice(), verified.lost_results().len()), (&[one.used()][..], 0));
    assert!(!verified.is_sound());
    assert!(from.store.verify(Some(&from.lock())).unwrap().is_sound(), "it is said once");
}

#[test]
fn a_file_cut_off_anywhere_changes_nothing() {
    let (_from, _, _, file) = exported();
    let bytes = fs::read(&file).unwrap();
    let to = Lab::new();
    // What a tar ends with says nothing and may be gone.
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for length in (0..end).step_by(97).chain([end - 1]) {
        let error = import(&to, &bytes[..length]).unwrap_err();
        assert!(matches!(error, StoreError::BadBundle { .. }), "{length}: {error}");
        is_untouched(&to);
    }
}

#[test]
fn a_flipped_bit_anywhere_changes_nothing() {
    let (_from, _, _, file) = exported();
    let bytes = fs::read(&file).unwrap();
    let to = Lab::new();
    let mut refused = 0;
    for place in (0..bytes.len()).step_by(41) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        match import(&to, &flipped) {
            Err(StoreError::BadBundle { .. }) => {
                refused += 1;
                is_untouched(&to);
            }
            Err(error) => panic!("{place}: {error}"),
            // Padding of the tar, or a header's text that nothing looks at: what was taken in is what was exported.
            Ok(_) => {
                assert!(matches!(to.store.lookup(&key("one")).unwrap(), Lookup::Hit(_)), "{place}");
                assert!(to.store.verify(None).unwrap().is_sound(), "{place}");
                fs::remove_dir_all(to.store.root()).unwrap();
                Store::open(to.store.root()).unwrap();
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

/// Rewrites the parts of a bundle: name, content, kind of entry.
fn rewritten(bytes: &[u8], change: impl Fn(&mut Vec<(String, Vec<u8>, tar::EntryType)>)) -> Vec<u8> {
    let mut archive = tar::Archive::new(bytes);
    let mut parts: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), content, tar::EntryType::Regular)
        })
        .collect();
    change(&mut parts);
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content, kind) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // `set_path` would refuse the names that are wanted here.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn files_made_to_do_harm_are_refused() {
    type Parts = Vec<(String, Vec<u8>, tar::EntryType)>;
    type Change = Box<dyn Fn(&mut Parts)>;
    let (_from, [one, _], _, file) = exported();
    let bytes = fs::read(&file).unwrap();
    let replace = |parts: &mut Parts, old: &str, new: &str| {
        let text = String::from_utf8(parts[0].1.clone()).unwrap();
        assert!(text.contains(old), "{old} in {text}");
        parts[0].1 = text.replacen(old, new, 1).into_bytes();
    };
    let manifest = format!("manifests/{}.json", one.key);
    let changes: Vec<(&str, Change)> = vec![
        ("which no export writes", Box::new(|parts| parts[3].0 = "../../../../tmp/evil".to_owned())),
        ("which no export writes", Box::new(|parts| parts[3].0 = "/tmp/evil".to_owned())),
        ("which no export writes", Box::new(|parts| parts[3].0 = "objects/../../evil".to_owned())),
        ("which no export writes", Box::new(|parts| parts[3].2 = tar::EntryType::Symlink)),
        ("which no export writes", Box::new(|parts| parts[3].2 = tar::EntryType::Link)),
        ("outside its folder", Box::new(move |parts| replace(parts, "report.json", "../report.json"))),
        ("outside its folder", Box::new(move |parts| replace(parts, "report.json", "/etc/cron.d/evil"))),
        ("cannot be read", Box::new(move |parts| replace(parts, "\"run\":\"", "\"run\":\"../../"))),
        ("format 2", Box::new(move |parts| replace(parts, "\"format\":1", "\"format\":2"))),
        ("contradict", Box::new(move |parts| replace(parts, "\"bytes\":14", "\"bytes\":18446744073709551615"))),
        ("contradict", Box::new(move |parts| replace(parts, "\"objects\":3", "\"objects\":4"))),
        (
            "no manifest of it needs",
            Box::new(|parts| {
                let stray = refit_cache::Digest::of(b"stray");
                parts.push((format!("objects/{stray}"), b"stray".to_vec(), tar::EntryType::Regular));
            }),
        ),
        ("another size", Box::new(|parts| parts[3].1.push(0))),
        ("is damaged", Box::new(|parts| parts[3].1[0] ^= 1)),
        ("comes twice", Box::new(|parts| parts.insert(4, parts[3].clone()))),
        ("comes twice", Box::new(|parts| parts.insert(2, parts[1].clone()))),
        ("before the first object", Box::new(|parts| parts.swap(2, 5))),
        ("does not begin", Box::new(|parts| parts.swap(0, 1))),
        ("cut off", Box::new(|parts| drop(parts.remove(3)))),
        ("cut off", Box::new(|parts| drop(parts.pop()))),
        (
            "does not list",
            Box::new(|parts| {
                let (content, kind) = (parts.last().unwrap().1.clone(), tar::EntryType::Regular);
                parts.push(("run/99".to_owned(), content, kind));
            }),
        ),
        (
            "another key",
            Box::new(move |parts| {
                let other =
                    parts.iter().position(|(name, ..)| name.starts_with("manifests/") && *name != manifest).unwrap();
                let own = parts.iter().position(|(name, ..)| *name == manifest).unwrap();
                parts[own].1 = parts[other].1.clone();
            }),
        ),
    ];
    for (says, change) in changes {
        let to = Lab::new();
        let error = import(&to, &rewritten(&bytes, change)).unwrap_err();
        assert!(matches!(&error, StoreError::BadBundle { what, .. } if what.contains(says)), "{says}: {error}");
        is_untouched(&to);
        assert!(!Path::new("/tmp/evil").exists());
    }
    // Unchanged, it is fine.
    import(&Lab::new(), &rewritten(&bytes, |_| {})).unwrap();
}

/// A header may claim any size: nothing is made room for before it is there.
#[test]
fn absurd_sizes_are_refused() {
    let to = Lab::new();
    for (name, size) in [("refit.json", 1 << 60), ("refit.json", 1 << 29), ("refit.json", 1 << 20)] {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([b' '; 512]);
        let error = import(&to, &bytes).unwrap_err();
        assert!(matches!(error, StoreError::BadBundle { .. }), "{error}");
        is_untouched(&to);
    }
    for noise in [&b""[..], b"\x28\xb5\x2f\xfd compressed", &[0xff; 4096], &[0; 4096]] {
        assert!(matches!(import(&to, noise), Err(StoreError::BadBundle { .. })));
    }
}

#[test]
fn a_damaged_object_of_the_receiving_store_is_mended() {
    let (_from, made, _, file) = exported();
    let to = Lab::new();
    import(&to, &fs::read(&file).unwrap()).unwrap();
    damage(&object(&to, b"alpha"), |bytes| bytes[0] ^= 1);
    assert!(matches!(to.store.lookup(&made[0].key).unwrap(), Lookup::Corrupt { .. }));
    import(&to, &fs::read(&file).unwrap()).unwrap();
    assert!(matches!(to.store.lookup(&made[0].key).unwrap(), Lookup::Hit(_)));
    to.store.lock("me", Wait::Fail).unwrap();
}
