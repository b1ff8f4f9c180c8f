//! Bad input of every kind: a clear error, the right exit code, no panic, and nothing lost.

use std::{io::Write, os::unix::fs::PermissionsExt, path::Path};

use refit_tests::{Outcome, Sandbox, SmallDisk};

const RUN: [&str; 3] = ["run", "--device", "cpu"];

/// Expects a failure that reads like one: a code, words, and no trace of a panic.
fn fails(sandbox: &Sandbox, code: i32, says: &[&str]) -> Outcome {
    let outcome = sandbox.refit(RUN).expect_code(code);
    for words in says {
        assert!(outcome.stderr.contains(words), "no `{words}` in:\n{}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("defect in refit"), "{}", outcome.stderr);
    outcome
}

/// A tiny pipeline whose early stages are done, and one thing about it spoilt afterwards.
fn spoilt(spoil: impl FnOnce(&Sandbox)) -> Sandbox {
    let sandbox = Sandbox::tiny();
    spoil(&sandbox);
    sandbox
}

#[test]
fn pipeline_files_that_are_none() {
    for (content, code) in [(&b""[..], 4), (b"\xff\xfe\x00bad", 4), (b"stages: [", 4), (b"# nothing\n", 4)] {
        let sandbox = Sandbox::new();
        sandbox.write("pipeline.yaml", content);
        fails(&sandbox, code, &["pipeline.yaml"]);
    }
    let sandbox = Sandbox::new();
    let outcome = sandbox.refit(["check", "nowhere.yaml"]);
    assert!(matches!(outcome.code, Some(1 | 4)), "{outcome:?}");
    fs_err::create_dir(sandbox.path("folder")).unwrap();
    let outcome = sandbox.refit(["check", "folder"]);
    assert!(matches!(outcome.code, Some(1 | 4)) && outcome.stderr.contains("pipeline.yaml"), "{outcome:?}");
}

#[test]
fn data_that_is_none() {
    fails(&spoilt(|sandbox| sandbox.write("faq.jsonl", "")), 3, &["faq.jsonl"]);
    fails(
        &spoilt(|sandbox| sandbox.write("faq.jsonl", "{\"instruction\": \"q\", \"output\": \"a\"}\n{broken\n")),
        3,
        &["faq.jsonl", "2"],
    );
    fails(
        &spoilt(|sandbox| sandbox.write("faq.jsonl", b"{\"instruction\": \"\xff\", \"output\": \"a\"}\n")),
        3,
        &["faq.jsonl"],
    );
    fails(
        &spoilt(|sandbox| {
            fs_err::remove_file(sandbox.path("faq.jsonl")).unwrap();
            fs_err::create_dir(sandbox.path("faq.jsonl")).unwrap();
        }),
        3,
        &["faq.jsonl"],
    );
}

#[test]
fn a_line_of_200_megabytes_is_refused_and_not_held_in_memory() {
    let sandbox = spoilt(|sandbox| {
        let mut out = std::io::BufWriter::new(fs_err::File::create(sandbox.path("faq.jsonl")).unwrap());
        out.write_all(b"{\"instruction\": \"").unwrap();
        for _ in 0..200 {
            out.write_all(&vec![b'a'; 1 << 20]).unwrap();
        }
        out.write_all(b"\", \"output\": \"b\"}\n").unwrap();
    });
    let outcome = sandbox.refit(RUN.iter().chain(&["--json"])).expect_code(3);
    assert!(outcome.stderr.contains("faq.jsonl"), "{}", outcome.stderr);
    let peak = outcome.stage("clean")["peak_memory"].as_u64().unwrap();
    assert!(peak < 150 << 20, "clean held {peak} bytes");
}

fn truncate(path: &Path, keep: f64) {
    let bytes = fs_err::read(path).unwrap();
    fs_err::write(path, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
}

#[test]
fn weight_files_that_are_damaged() {
    let weights = "model/model.safetensors";
    fails(&spoilt(|sandbox| truncate(&sandbox.path(weights), 0.7)), 3, &["model.safetensors"]);
    fails(&spoilt(|sandbox| sandbox.write(weights, "")), 3, &["model.safetensors"]);
    // A header that claims more than any file holds.
    fails(&spoilt(|sandbox| sandbox.write(weights, [0xff; 64])), 3, &["model.safetensors"]);
    fails(
        &spoilt(|sandbox| {
            let mut bytes = fs_err::read(sandbox.path(weights)).unwrap();
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
            sandbox.write(weights, bytes);
        }),
        3,
        &["NaN"],
    );
    for gguf in [&b"GGUF"[..], b"", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x7f"] {
        let sandbox = spoilt(|sandbox| {
            fs_err::remove_dir_all(sandbox.path("model")).unwrap();
            sandbox.write("model.gguf", gguf);
            let text = fs_err::read_to_string(sandbox.path("pipeline.yaml")).unwrap();
            sandbox.write("pipeline.yaml", text.replace("base: model", "base: model.gguf"));
        });
        fails(&sandbox, 3, &["model.gguf"]);
    }
}

#[test]
fn a_failed_stage_loses_nothing_that_was_finished() {
    let sandbox = Sandbox::tiny();
    let failed = sandbox.refit(RUN.iter().chain(&["-S", "stages.train.with.learning_rate=10", "--json"]));
    // An absurd learning rate either diverges, which is an error, or does not; what came before is kept in any case.
    assert!(matches!(failed.code, Some(0 | 3)), "{}", failed.stderr);
    let next = sandbox.refit(RUN.iter().chain(&["--json"])).expect_code(0);
    let cached = next.stages("cached");
    assert!(["clean", "split", "tokens"].iter().all(|stage| cached.contains(&(*stage).to_owned())), "{cached:?}");
}

#[test]
fn a_store_that_may_not_be_written_is_said_to_be_one() {
    let sandbox = Sandbox::tiny();
    // Root may write anywhere, so a file in the store's place stands for missing rights there.
    sandbox.write("blocked", "a file");
    let store = sandbox.path("blocked/store");
    let outcome =
        sandbox.refit(RUN.map(std::ffi::OsStr::new).into_iter().chain(["--store".as_ref(), store.as_os_str()]));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("blocked"), "{}", outcome.stderr);

    let sandbox = Sandbox::tiny();
    sandbox.refit(RUN).expect_code(0);
    fs_err::set_permissions(sandbox.path(".refit"), std::fs::Permissions::from_mode(0o555)).unwrap();
    sandbox.refit(["plan"]).expect_code(0);
    fs_err::set_permissions(sandbox.path(".refit"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_second_run_waits_for_the_first_or_says_who_holds_the_store() {
    let sandbox = Sandbox::tiny();
    let mut first = sandbox.spawn(["run", "--device", "cpu", "-S", "params.epochs=30"]);
    while !sandbox.path(".refit/runs").exists()
        || fs_err::read_dir(sandbox.path(".refit/runs")).unwrap().next().is_none()
    {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended too early");
        std::thread::yield_now();
    }
    let refused = sandbox.refit(["run", "--no-wait", "--device", "cpu"]);
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert!(refused.stderr.contains("refit run tiny"), "{}", refused.stderr);
    // Readers never wait.
    sandbox.refit(["plan"]).expect_code(0);
    let second = sandbox.refit(["run", "--json", "--device", "cpu", "-S", "params.epochs=30"]).expect_code(0);
    assert_eq!(second.stages("ran"), Vec::<String>::new(), "{}", second.stdout);
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_full_disk_is_said_to_be_full_and_the_run_goes_on_once_there_is_space() {
    let sandbox = Sandbox::tiny();
    let at = sandbox.path("disk");
    let Some(disk) = SmallDisk::mount(&at, "192k") else {
        eprintln!("skipped: no right to mount a small file system");
        return;
    };
    let store = at.join("store");
    let run = |extra: &[&str]| {
        let arguments = RUN.iter().chain(extra).map(std::ffi::OsStr::new);
        sandbox.refit(arguments.chain(["--store".as_ref(), store.as_os_str()]))
    };
    let full = run(&[]);
    assert!(matches!(full.code, Some(1 | 3)), "{full:?}");
    assert!(full.stderr.contains("full") || full.stderr.contains("No space left"), "{}", full.stderr);
    assert!(!full.stderr.contains("panicked"), "{}", full.stderr);
    disk.remount("size=200m");
    let next = run(&["--json"]).expect_code(0);
    assert!(next.stages("failed").is_empty());

    disk.remount("ro");
    let read_only = run(&["-S", "stages.train.with.learning_rate=3e-3"]);
    assert!(matches!(read_only.code, Some(1 | 3)), "{read_only:?}");
    assert!(read_only.stderr.to_lowercase().contains("read-only"), "{}", read_only.stderr);
    let plan =
        sandbox.refit(["plan".as_ref(), "--json".as_ref(), "--store".as_ref(), store.as_os_str()]).expect_code(0);
    assert_eq!(plan.stages("cached").len(), 7, "{}", plan.stdout);
}
