//! A damaged store is found, named and mended; nothing damaged is ever handed out.

use std::{fs::FileTimes, path::PathBuf};

use refit_tests::Sandbox;
use walkdir::WalkDir;

const CPU: [&str; 3] = ["run", "--device", "cpu"];

/// Every object in the store, largest first.
fn objects(sandbox: &Sandbox) -> Vec<PathBuf> {
    let files = WalkDir::new(sandbox.path(".refit/objects")).into_iter().filter_map(Result::ok);
    let mut found: Vec<_> = files.filter(|entry| entry.file_type().is_file()).collect();
    found.sort_by_key(|entry| std::cmp::Reverse(entry.metadata().unwrap().len()));
    found.into_iter().map(walkdir::DirEntry::into_path).collect()
}

/// Flips one bit, and leaves the times as they were when `silently`.
fn flip(object: &PathBuf, silently: bool) {
    let metadata = fs_err::metadata(object).unwrap();
    let mut bytes = fs_err::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::remove_file(object).unwrap();
    fs_err::write(object, bytes).unwrap();
    if silently {
        let times = FileTimes::new().set_modified(metadata.modified().unwrap());
        fs_err::OpenOptions::new().write(true).open(object).unwrap().file().set_times(times).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_any_object_is_found_and_the_same_result_made_again() {
    let sandbox = Sandbox::tiny();
    sandbox.refit(CPU).expect_code(0);
    let adapter = fs_err::read(sandbox.path("out/adapter/adapter_model.safetensors")).unwrap();
    let mut made_again = 0;
    for object in objects(&sandbox) {
        // What a later round replaced is nobody's result any more.
        if fs_err::metadata(&object).unwrap().len() == 0 {
            continue;
        }
        flip(&object, false);
        let verified = sandbox.refit(["cache", "verify"]);
        if verified.stderr.contains("damaged object of no result moved aside") {
            // An earlier round made its result again, with another object.
            assert_eq!(verified.code, Some(0), "{}", verified.stderr);
            assert!(made_again > 0);
            continue;
        }
        assert_eq!(verified.code, Some(6), "{}", verified.stderr);
        let run = sandbox.refit(CPU.iter().chain(&["--json"])).expect_code(0);
        made_again += run.stages("ran").len();
        assert_eq!(fs_err::read(sandbox.path("out/adapter/adapter_model.safetensors")).unwrap(), adapter);
        sandbox.refit(["cache", "verify"]).expect_code(0);
    }
    assert!(made_again >= 7, "{made_again}");
}

#[test]
fn damage_that_left_no_trace_in_the_file_times_never_reaches_a_stage() {
    let sandbox = Sandbox::tiny();
    sandbox.refit(CPU).expect_code(0);
    for object in objects(&sandbox) {
        if fs_err::metadata(&object).unwrap().len() > 0 {
            flip(&object, true);
        }
    }
    // `after` must run, so it reads the adapter and the records; both are damaged.
    let run = sandbox.refit(CPU.iter().chain(&["-S", "stages.after.with.max_new_tokens=9", "--json"])).expect_code(0);
    let ran = run.stages("ran");
    assert!(["split", "train", "after"].iter().all(|stage| ran.contains(&(*stage).to_owned())), "{ran:?}");
}

#[test]
fn a_lost_object_and_a_lost_index_cost_time_and_nothing_else() {
    let sandbox = Sandbox::tiny();
    sandbox.refit(CPU).expect_code(0);
    fs_err::remove_file(&objects(&sandbox)[0]).unwrap();
    let run = sandbox.refit(CPU.iter().chain(&["--json"])).expect_code(0);
    assert!(run.stdout.contains("output_missing"), "{}", run.stdout);

    fs_err::remove_dir_all(sandbox.path(".refit/index")).unwrap();
    let run = sandbox.refit(CPU.iter().chain(&["--json"])).expect_code(0);
    assert_eq!(run.stages("cached").len(), 7);

    for entry in WalkDir::new(sandbox.path(".refit/index")).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() {
            fs_err::write(entry.path(), b"noise").unwrap();
        }
    }
    let run = sandbox.refit(CPU.iter().chain(&["--json"])).expect_code(0);
    assert_eq!(run.stages("cached").len(), 7);
}
