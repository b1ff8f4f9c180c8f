//! Very many files, and very large ones.

use std::{
    fs::{self, File},
    time::{Duration, Instant},
};

use refit_cache::{Lookup, Wait};

use crate::fixture::{Lab, key, manifest};

/// Generous: a busy machine with two slow cores needs a third of it.
const SECONDS: Duration = Duration::from_mins(1);

#[test]
fn a_folder_of_a_hundred_thousand_files_takes_seconds() {
    let lab = Lab::in_memory();
    let lock = lab.lock();
    let output = lab.path("output");
    for number in 0..100_000 {
        let folder = output.join((number / 1000).to_string());
        if number % 1000 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("{number} 学习.txt")), number.to_string()).unwrap();
    }
    let run = lab.store.create_run(&lock).unwrap();
    let mut begin = Instant::now();
    let mut took = |what: &str| {
        println!("{what}: {:.1} s", begin.elapsed().as_secs_f64());
        assert!(begin.elapsed() < SECONDS, "{what} took {:?}", begin.elapsed());
        begin = Instant::now();
    };
    let tree = lab.store.ingest(&lock, &output).unwrap();
    lab.store.commit(&lock, &manifest("many", tree.clone(), &run)).unwrap();
    took("ingest and commit");
    assert!(matches!(lab.store.lookup(&key("many")).unwrap(), Lookup::Hit(_)));
    took("lookup");
    let to = lab.store.step_folder(&key("next")).join("in/many");
    lab.store.hydrate(&tree, &to).unwrap();
    took("hydrate");
    assert_eq!(lab.store.measure(&to, Some(&lock)).unwrap(), tree);
    took("measure");
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    took("verify");
}

/// The most memory this process ever held, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Takes a file of that size through everything; it is all holes, so that no disk is filled.
fn passes_through(gigabytes: u64) {
    let lab = Lab::new();
    let lock = lab.lock();
    let path = lab.path("large");
    let bytes = gigabytes << 30;
    File::create(&path).unwrap().set_len(bytes).unwrap();
    let before = peak_memory();
    let measured = lab.store.measure(&path, Some(&lock)).unwrap();
    let tree = lab.store.ingest(&lock, &path).unwrap();
    assert_eq!((&measured, tree.bytes), (&tree, bytes));
    let run = lab.store.create_run(&lock).unwrap();
    lab.store.commit(&lock, &manifest("large", tree.clone(), &run)).unwrap();
    lab.store.hydrate(&tree, &lab.store.step_folder(&key("next")).join("in/large")).unwrap();
    assert!(lab.store.verify(Some(&lock)).unwrap().is_sound());
    let grown = peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes of memory for {bytes} of file");
    drop(lock);
    lab.store.lock("another", Wait::Fail).unwrap();
}

#[test]
fn a_large_file_takes_little_memory() {
    passes_through(1);
}

/// Half a minute: asked for with `REFIT_TEST_LARGE=1`.
#[test]
fn ten_gigabytes_take_little_memory() {
    if std::env::var_os("REFIT_TEST_LARGE").is_none() {
        println!("skipped: REFIT_TEST_LARGE is not set");
        return;
    }
    passes_through(10);
}
