//! How long a run that finds everything in the store spends in it: `cargo bench -p refit-cache`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "prints figures for people")]

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use refit_cache::{Lookup, MANIFEST_FORMAT, Manifest, RunId, StepKey, Store, Wait};
use serde_json::json;

const MANY: u32 = 1000;

/// The best of some tries.
fn best<T>(what: &str, tries: u32, mut work: impl FnMut() -> T) {
    let times = (0..tries).map(|_| {
        let begin = Instant::now();
        black_box(work());
        begin.elapsed()
    });
    let best: Duration = times.min().unwrap();
    println!("{what:<60} {:>9.2} ms", best.as_secs_f64() * 1e3);
}

fn key(number: u32) -> StepKey {
    StepKey::compute("bench", 1, &json!({ "number": number }), &BTreeMap::new())
}

fn main() {
    let folder = tempfile::TempDir::new().unwrap();
    let root = folder.path().join(".refit");
    best("make a store", 1, || Store::open(&root).unwrap());
    let store = Store::open(&root).unwrap();
    let lock = || store.lock("a bench", Wait::Fail).unwrap();
    best("open, lock, new index, unlock", 1, lock);
    best("open, lock, unlock", 20, || {
        Store::open(&root).unwrap();
        lock();
    });

    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..MANY {
        fs::write(source.join(format!("{number}.txt")), format!("{number}").repeat(1000)).unwrap();
    }
    let large = folder.path().join("large");
    fs::write(&large, vec![1; 256 << 20]).unwrap();
    best("measure 1000 files of 3 kB without the index", 5, || store.measure(&source, None).unwrap());
    best("measure one file of 256 MiB without the index", 3, || store.measure(&large, None).unwrap());
    // Files that were just written are not trusted yet.
    std::thread::sleep(Duration::from_secs(3));
    let held = lock();
    best("measure 1000 files, first time, with the index", 1, || store.measure(&source, Some(&held)).unwrap());
    best("measure 1000 unchanged files with the index", 20, || store.measure(&source, Some(&held)).unwrap());
    store.measure(&large, Some(&held)).unwrap();
    best("measure one unchanged file of 256 MiB with the index", 20, || store.measure(&large, Some(&held)).unwrap());
    drop(held);
    best("open, lock, unlock with 1000 files in the index", 20, lock);

    let held = lock();
    let run = RunId::now();
    let begin = Instant::now();
    for number in 0..MANY {
        let output = store.step_folder(&key(number)).join("out");
        fs::create_dir_all(&output).unwrap();
        fs::write(output.join("a.txt"), format!("a{number}")).unwrap();
        fs::write(output.join("report.json"), format!("{{\"b\": {number}}}")).unwrap();
        let tree = store.ingest(&held, &output).unwrap();
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            key: key(number),
            kind: "bench".to_owned(),
            version: 1,
            params: json!({ "number": number, "rate": 5e-4, "modules": ["q", "v"] }),
            inputs: BTreeMap::new(),
            outputs: [("out".to_owned(), tree)].into(),
            log: None,
            facts: BTreeMap::new(),
            warnings: Vec::new(),
            seconds: 1.0,
            peak_memory: 1 << 20,
            created: jiff::Timestamp::now(),
            run: run.clone(),
        };
        store.commit(&held, &manifest).unwrap();
    }
    let each = begin.elapsed().as_secs_f64() * 1e3 / f64::from(MANY);
    println!("{:<60} {each:>9.2} ms", "ingest two small files and commit, each");
    best("look up 1000 results of two files each", 10, || {
        assert!((0..MANY).all(|number| matches!(store.lookup(&key(number)).unwrap(), Lookup::Hit(_))));
    });
    best("look up 1000 keys that are absent", 10, || {
        assert!((MANY..2 * MANY).all(|number| store.lookup(&key(number)).unwrap() == Lookup::Absent));
    });
    best("verify 2000 objects, 1000 manifests", 3, || assert!(store.verify(Some(&held)).unwrap().is_sound()));
    drop(held);
    best("open, lock, unlock with 1000 results in the index", 20, lock);
    fs::remove_dir_all(root.join("index")).unwrap();
    best("rebuild the index from 1000 manifests", 1, lock);
}
