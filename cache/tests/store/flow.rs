//! From a step's output to its next reader.

use std::{fs, os::unix::fs::symlink, sync::Barrier, thread};

use refit_cache::{Content, Digest, Lookup, RunId, StoreError, Tree};

use crate::fixture::{Lab, key, manifest, object, write_files};

const FILES: &[(&str, &[u8])] = &[("a.txt", b"alpha"), ("deep/er/b 学习.bin", b"beta"), ("empty", b"")];

#[test]
fn what_a_step_made_comes_back() {
    let lab = Lab::new();
    let lock = lab.lock();
    assert_eq!(lab.store.lookup(&key("one")).unwrap(), Lookup::Absent);
    let made = lab.step(&lock, "one", FILES);
    assert_eq!(lab.store.lookup(&made.key).unwrap(), Lookup::Hit(Box::new(made.clone())));
    assert_eq!(lab.store.manifest(&made.key).unwrap(), Some(made.clone()));

    let to = lab.path("laid out/made");
    lab.store.hydrate(&made.outputs["made"], &to).unwrap();
    for (name, bytes) in FILES {
        assert_eq!(fs::read(to.join(name)).unwrap(), *bytes);
        assert!(to.join(name).metadata().unwrap().permissions().readonly());
    }
    assert_eq!(lab.store.measure(&to, Some(&lock)).unwrap(), made.outputs["made"]);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    assert_eq!(lock.take_notices(), Vec::<String>::new());
}

#[test]
fn a_single_file_is_an_artifact_too() {
    let lab = Lab::new();
    let lock = lab.lock();
    let path = lab.path("one.bin");
    fs::write(&path, b"alpha").unwrap();
    let tree = lab.store.ingest(&lock, &path).unwrap();
    assert_eq!(tree, Tree::file(Digest::of(b"alpha"), 5));
    lab.store.hydrate(&tree, &lab.path("there")).unwrap();
    assert_eq!(fs::read(lab.path("there")).unwrap(), b"alpha");
}

#[test]
fn a_source_and_the_object_made_of_it_have_one_digest() {
    let lab = Lab::new();
    let source = lab.write("source", FILES);
    let measured = lab.store.measure(&source, None).unwrap();
    assert_eq!(measured, lab.store.measure(&source, Some(&lab.lock())).unwrap());
    assert_eq!(measured, lab.store.ingest(&lab.lock(), &source).unwrap());
}

#[test]
fn laying_out_twice_replaces_only_in_the_folder_of_steps() {
    let lab = Lab::new();
    let lock = lab.lock();
    let one = lab.step(&lock, "one", FILES);
    let two = lab.step(&lock, "two", &[("a.txt", b"other")]);
    let to = lab.store.step_folder(&key("three")).join("inputs/port");
    for made in [&one, &two, &two] {
        lab.store.hydrate(&made.outputs["made"], &to).unwrap();
        assert_eq!(lab.store.measure(&to, None).unwrap(), made.outputs["made"]);
    }
    let mine = lab.write("mine", &[("keep", b"me")]);
    assert!(matches!(lab.store.hydrate(&one.outputs["made"], &mine), Err(StoreError::Io { .. })));
    assert_eq!(fs::read(mine.join("keep")).unwrap(), b"me");
}

#[test]
fn many_threads_take_in_the_same_content() {
    let lab = Lab::new();
    let lock = lab.lock();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for number in 0..8 {
            let (lab, lock, barrier) = (&lab, &lock, &barrier);
            scope.spawn(move || {
                let output = lab.path(&format!("out-{number}"));
                write_files(&output, &[("same", &vec![7; 300_000]), ("own", format!("{number}").as_bytes())]);
                barrier.wait();
                let tree = lab.store.ingest(lock, &output).unwrap();
                lab.store.commit(lock, &manifest(&format!("{number}"), tree, &RunId::now())).unwrap();
            });
        }
    });
    for number in 0..8 {
        assert!(matches!(lab.store.lookup(&key(&format!("{number}"))).unwrap(), Lookup::Hit(_)));
    }
    assert_eq!(lab.store.usage().unwrap().objects, 9);
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    assert_eq!(fs::read_dir(lab.store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn links_inside_an_output_become_copies() {
    let lab = Lab::new();
    let lock = lab.lock();
    let output = lab.write("out", &[("real/a.txt", b"alpha")]);
    symlink("real/a.txt", output.join("link.txt")).unwrap();
    symlink("real", output.join("folder")).unwrap();
    fs::hard_link(output.join("real/a.txt"), output.join("second name.txt")).unwrap();
    let tree = lab.store.ingest(&lock, &output).unwrap();
    let Content::Folder(entries) = &tree.content else { panic!("a folder") };
    let paths: Vec<_> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["folder/a.txt", "link.txt", "real/a.txt", "second name.txt"]);
    assert!(entries.iter().all(|entry| entry.digest == Digest::of(b"alpha")));
    assert_eq!(fs::read(object(&lab, b"alpha")).unwrap(), b"alpha");
}

#[test]
fn a_file_with_another_name_elsewhere_is_copied() {
    let lab = Lab::new();
    let lock = lab.lock();
    let mine = lab.write("mine", &[("a.txt", b"alpha")]).join("a.txt");
    let output = lab.write("out", &[]);
    fs::hard_link(&mine, output.join("a.txt")).unwrap();
    lab.store.ingest(&lock, &output).unwrap();
    assert!(!mine.metadata().unwrap().permissions().readonly());
    fs::write(&mine, b"mine to change").unwrap();
    assert_eq!(fs::read(object(&lab, b"alpha")).unwrap(), b"alpha");
}

#[test]
fn links_that_leave_an_output_are_refused() {
    let lab = Lab::new();
    let lock = lab.lock();
    let secret = lab.write("elsewhere", &[("secret", b"s")]);
    for (name, target) in [("file", secret.join("secret")), ("folder", secret.clone())] {
        let output = lab.write(name, &[("a.txt", b"alpha")]);
        symlink(target, output.join("link")).unwrap();
        assert!(matches!(lab.store.ingest(&lock, &output), Err(StoreError::LinkLeavesOutput { .. })));
    }
    let output = lab.path("whole");
    symlink(&secret, &output).unwrap();
    assert!(matches!(lab.store.ingest(&lock, &output), Err(StoreError::LinkLeavesOutput { .. })));
    assert_eq!(fs::read(secret.join("secret")).unwrap(), b"s");
    assert!(!object(&lab, b"s").exists());
}

#[test]
fn a_missing_output_is_an_error() {
    let lab = Lab::new();
    let lock = lab.lock();
    assert!(matches!(lab.store.ingest(&lock, &lab.path("nowhere")), Err(StoreError::NotFound { .. })));
}

#[test]
fn other_folders_are_no_store() {
    let lab = Lab::new();
    let mine = lab.write("mine", &[("thesis.tex", b"...")]);
    assert!(matches!(refit_cache::Store::open(&mine), Err(StoreError::NotAStore { .. })));
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
    assert!(matches!(refit_cache::Store::open(&mine.join("thesis.tex")), Err(StoreError::NotAStore { .. })));
    assert!(matches!(refit_cache::Store::open_existing(&mine), Err(StoreError::NoStore { .. })));
    assert!(matches!(refit_cache::Store::open_existing(&lab.path("none")), Err(StoreError::NoStore { .. })));
    assert!(!lab.path("none").exists());
    fs::write(lab.store.root().join("format"), "99\n").unwrap();
    assert!(matches!(refit_cache::Store::open(lab.store.root()), Err(StoreError::Format { found: 99, .. })));
}
