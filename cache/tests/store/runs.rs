//! Runs on record.

use std::fs;

use refit_cache::{RunId, StoreError};

use crate::fixture::Lab;

#[test]
fn runs_are_listed_newest_first() {
    let lab = Lab::new();
    let lock = lab.lock();
    let mut made: Vec<_> = (0..20).map(|_| lab.store.create_run(&lock).unwrap()).collect();
    made.reverse();
    fs::create_dir(lab.store.root().join("runs/not a run")).unwrap();
    assert_eq!(lab.store.runs().unwrap(), made);
    assert!(made.iter().all(|run| lab.store.run_folder(run).is_dir()));
}

#[test]
fn a_clock_that_was_set_back_does_not_change_the_order() {
    let lab = Lab::new();
    let lock = lab.lock();
    let future = RunId::at(jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1000));
    fs::create_dir(lab.store.run_folder(&future)).unwrap();
    let next = lab.store.create_run(&lock).unwrap();
    let last = lab.store.create_run(&lock).unwrap();
    assert_eq!(lab.store.runs().unwrap(), [last, next, future]);
}

#[test]
fn a_part_of_the_id_is_enough() {
    let lab = Lab::new();
    for name in ["20261123T175301-4f2a9c", "20261123T175302-4f2b00", "20261201T000000-aaaaaa"] {
        fs::create_dir(lab.store.root().join("runs").join(name)).unwrap();
    }
    let find = |prefix: &str| lab.store.find_run(prefix);
    assert_eq!(find("202612").unwrap().as_str(), "20261201T000000-aaaaaa");
    assert_eq!(find("4f2a").unwrap().as_str(), "20261123T175301-4f2a9c");
    let error = find("4f2").unwrap_err();
    assert_eq!(error.to_string(), "`4f2` fits 2 runs: 20261123T175302-4f2b00, 20261123T175301-4f2a9c");
    assert!(matches!(find("9"), Err(StoreError::UnknownRun { .. })));
}
