//! Results committed in groups.

use std::{fs, sync::mpsc, time::Instant};

use refit_cache::{Lookup, Manifest, RunId, Store, StoreError, StoreLock, Taken};

use crate::fixture::{Lab, key, manifest, write_files};

/// A step's output, taken in, and its manifest.
fn taken(store: &Store, lock: &StoreLock, name: &str, run: &RunId) -> (Manifest, Vec<Taken>) {
    let output = store.step_folder(&key(name)).join("out/made");
    write_files(&output, &[("a.txt", name.as_bytes()), ("shared", b"in all of them")]);
    let taken = store.take_in(lock, &output).unwrap();
    (manifest(name, taken.tree.clone(), run), vec![taken])
}

#[test]
fn a_thousand_tiny_results_are_durable_in_little_time() {
    let lab = Lab::new();
    let lock = lab.lock();
    let run = lab.store.create_run(&lock).unwrap();
    let committer = lab.store.committer(&lock).unwrap();
    let (tell, told) = mpsc::channel();
    let begin = Instant::now();
    for number in 0..1000 {
        let (manifest, outputs) = taken(&lab.store, &lock, &number.to_string(), &run);
        let tell = tell.clone();
        committer.commit(manifest, outputs, Box::new(move |_, done| tell.send(done).unwrap()));
    }
    let took_in = begin.elapsed();
    for _ in 0..1000 {
        told.recv().unwrap().unwrap();
    }
    let each = begin.elapsed().as_secs_f64();
    println!("taken in: {:.2} ms each; durable: {each:.2} ms each", took_in.as_secs_f64());
    drop(committer);
    for number in 0..1000 {
        assert!(matches!(lab.store.lookup(&key(&number.to_string())).unwrap(), Lookup::Hit(_)));
    }
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
}

#[test]
fn what_was_handed_in_is_finished_before_it_ends() {
    let lab = Lab::new();
    let lock = lab.lock();
    let run = lab.store.create_run(&lock).unwrap();
    let committer = lab.store.committer(&lock).unwrap();
    for name in ["one", "two", "three"] {
        let (manifest, outputs) = taken(&lab.store, &lock, name, &run);
        committer.commit(manifest, outputs, Box::new(|_, done| done.unwrap()));
    }
    drop(committer);
    assert!(["one", "two", "three"].iter().all(|name| matches!(lab.store.lookup(&key(name)), Ok(Lookup::Hit(_)))));
}

/// A folder stands where one manifest should go: its own commit fails, the others of its group do not.
#[test]
fn one_that_cannot_be_committed_takes_no_other_with_it() {
    let lab = Lab::new();
    let lock = lab.lock();
    let run = lab.store.create_run(&lock).unwrap();
    fs::create_dir_all(lab.store.manifest_path(&key("bad")).join("in the way")).unwrap();
    let committer = lab.store.committer(&lock).unwrap();
    let (tell, told) = mpsc::channel();
    let names = ["one", "bad", "two"];
    for name in names {
        let (manifest, outputs) = taken(&lab.store, &lock, name, &run);
        let tell = tell.clone();
        committer.commit(manifest, outputs, Box::new(move |_, done| tell.send((name, done)).unwrap()));
    }
    for _ in names {
        let (name, done) = told.recv().unwrap();
        assert_eq!(done.is_ok(), name != "bad", "{name}: {done:?}");
        assert!(!matches!(done, Err(StoreError::CommitStopped)));
    }
    assert!(["one", "two"].iter().all(|name| matches!(lab.store.lookup(&key(name)), Ok(Lookup::Hit(_)))));
}
