//! A run asked for again over untouched files is answered from memory, and every touch is noticed.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use fs_err as fs;
use refit_tests::Sandbox;

/// A change within this time of the last one may leave no trace in the times of a file, so nothing is recalled by then.
const SETTLES: Duration = Duration::from_millis(2100);

fn questions(count: usize) -> String {
    (0..count)
        .map(|i| format!("{{\"instruction\":\"what is number {i} of them\",\"output\":\"it is {i}\"}}\n"))
        .collect()
}

/// Two data stages over a file and a folder, one output; run until its answer is remembered.
fn remembered() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("faq.jsonl", questions(30));
    sandbox.write(
        "pipeline.yaml",
        "name: two\nsources: { faq: faq.jsonl }\nstages:\n  clean: { uses: clean, inputs: { records: faq } }\n  \
         split: { uses: split, inputs: { records: clean.records }, with: { test: 5 } }\noutputs: { out/test: split.test }\n",
    );
    sandbox.refit(["run"]).expect_code(0);
    thread::sleep(SETTLES);
    sandbox.refit(["run"]).expect_code(0);
    assert_eq!(memories(&sandbox).len(), 1);
    sandbox
}

fn memories(sandbox: &Sandbox) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(sandbox.path(".refit/recall")) else { return Vec::new() };
    let paths = folder.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn states(sandbox: &Sandbox) -> (Vec<String>, Vec<String>) {
    let outcome = sandbox.refit(["run", "--json"]).expect_code(0);
    (outcome.stages("ran"), outcome.stages("cached"))
}

#[test]
fn a_recalled_run_is_reported_and_recorded_like_any_other() {
    let sandbox = remembered();
    let recalled = sandbox.refit(["run", "--json", "--name", "again"]).expect_code(0).json();
    // The long way, for comparison.
    for memory in memories(&sandbox) {
        fs::remove_file(memory).unwrap();
    }
    let planned = sandbox.refit(["run", "--json"]).expect_code(0).json();
    for part in ["pipeline", "status", "stages", "exported", "sources"] {
        assert_eq!(recalled[part], planned[part], "{part}");
    }
    let listed = sandbox.refit(["runs", "ls", "--json"]).expect_code(0).json();
    assert_eq!(listed["runs"].as_array().map_or(0, Vec::len), 4, "{listed}");
    let run = recalled["run"].as_str().unwrap();
    let folder = sandbox.path(".refit/runs").join(run);
    for file in ["plan.json", "pipeline.yaml", "report.json"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    sandbox.refit(["runs", "show", "again"]).expect_code(0);
}

#[test]
fn whatever_is_touched_is_noticed() {
    let sandbox = remembered();
    let all_cached = (Vec::new(), vec!["clean".to_owned(), "split".to_owned()]);
    assert_eq!(states(&sandbox), all_cached);

    // What was copied out is put back.
    let exported = sandbox.path("out/test/records.jsonl");
    fs::remove_file(&exported).unwrap();
    assert_eq!(states(&sandbox), all_cached);
    assert!(exported.is_file());

    // Another value in the file, and one on the command line.
    let text = fs::read_to_string(sandbox.path("pipeline.yaml")).unwrap();
    sandbox.write("pipeline.yaml", text.replace("test: 5", "test: 6"));
    assert_eq!(states(&sandbox).0, ["split"]);
    let other = sandbox.refit(["run", "--json", "-S", "stages.split.with.test=7"]).expect_code(0);
    assert_eq!(other.stages("ran"), ["split"]);
    sandbox.write("pipeline.yaml", &text);
    assert_eq!(states(&sandbox), all_cached);

    // A source of the same size.
    sandbox.write("faq.jsonl", questions(30).replace("it is 7", "it is 8"));
    assert_eq!(states(&sandbox).0, ["clean", "split"]);
    sandbox.write("faq.jsonl", questions(30));
    assert_eq!(states(&sandbox), all_cached);
    fs::remove_file(sandbox.path("faq.jsonl")).unwrap();
    sandbox.refit(["run"]).expect_code(4);
    sandbox.write("faq.jsonl", questions(30));

    // A memory that was damaged is none.
    thread::sleep(SETTLES);
    assert_eq!(states(&sandbox), all_cached);
    for memory in memories(&sandbox) {
        let mut bytes = fs::read(&memory).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&memory, bytes).unwrap();
    }
    assert_eq!(states(&sandbox), all_cached);

    // The store itself.
    for folder in ["objects", "manifests"] {
        fs::remove_dir_all(sandbox.path(".refit").join(folder)).unwrap();
        assert_eq!(states(&sandbox).0, ["clean", "split"], "{folder}");
        thread::sleep(SETTLES);
        assert_eq!(states(&sandbox), all_cached);
    }
}

/// Says of a file that it was last written at that time.
fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// What a clock that was wrong leaves: files of tomorrow, and a memory that is older, or younger, than all it is about.
#[test]
fn a_clock_that_was_wrong_hides_no_change() {
    let sandbox = remembered();
    let both = ["clean".to_owned(), "split".to_owned()];
    let source = sandbox.path("faq.jsonl");
    let written = fs::metadata(&source).unwrap().modified().unwrap();
    let day = Duration::from_hours(24);
    for (round, time) in [written, SystemTime::UNIX_EPOCH + day, SystemTime::now() + day].into_iter().enumerate() {
        // Other content of the same size, and the time says that nothing was written since.
        sandbox.write("faq.jsonl", questions(30).replace("it is 7", &format!("it is {round}")));
        set_time(&source, time);
        assert_eq!(states(&sandbox).0, both, "{time:?}");
        assert_eq!(states(&sandbox).1, both, "{time:?}");
        sandbox.write("faq.jsonl", questions(30).replace("it is 8", &format!("it is {round}")));
        set_time(&source, time);
        assert_eq!(states(&sandbox).0, both, "{time:?}");
    }
    for (round, time) in [SystemTime::UNIX_EPOCH + day, SystemTime::now() + day].into_iter().enumerate() {
        sandbox.write("faq.jsonl", questions(30));
        states(&sandbox);
        thread::sleep(SETTLES);
        assert_eq!(states(&sandbox).1, both);
        for memory in memories(&sandbox) {
            set_time(&memory, time);
        }
        assert_eq!(states(&sandbox).1, both, "{time:?}");
        sandbox.write("faq.jsonl", questions(30).replace("it is 9", &format!("it is {round}")));
        set_time(&source, time);
        assert_eq!(states(&sandbox).0, both, "{time:?}");
    }
}

/// Every file of the store, and when it was last written.
fn files(sandbox: &Sandbox) -> Vec<(PathBuf, std::time::SystemTime)> {
    let walk = walkdir::WalkDir::new(sandbox.path(".refit")).sort_by_file_name();
    walk.into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            (entry.into_path(), modified)
        })
        .collect()
}

#[test]
fn whoever_only_asks_is_told_the_same_the_short_way_and_writes_nothing() {
    let sandbox = remembered();
    let questions: [&[&str]; 7] = [
        &["plan"],
        &["plan", "--json", "-j", "3"],
        &["check"],
        &["check", "--json"],
        &["explain", "clean", "--json"],
        &["explain", "split", "--json"],
        &["explain", "nothing"],
    ];
    let ask = |question: &&[&str]| {
        let answer = sandbox.refit(question.iter());
        (answer.code, answer.stdout, answer.stderr)
    };
    let before = files(&sandbox);
    let short: Vec<_> = questions.iter().map(ask).collect();
    assert_eq!(files(&sandbox), before);
    for memory in memories(&sandbox) {
        fs::remove_file(memory).unwrap();
    }
    let long: Vec<_> = questions.iter().map(ask).collect();
    for ((question, short), long) in questions.iter().zip(short).zip(long) {
        assert_eq!(short, long, "{question:?}");
    }
}

#[test]
fn whoever_only_asks_hears_of_every_change() {
    let sandbox = remembered();
    fs::remove_dir_all(sandbox.path(".refit/objects")).unwrap();
    assert_eq!(sandbox.refit(["plan", "--exit-code"]).code, Some(10));
    // What the store holds has no say in whether the file is right.
    sandbox.refit(["check"]).expect_code(0);
    assert!(sandbox.refit(["explain", "clean"]).expect_code(0).stdout.contains("would run"));
    let text = fs::read_to_string(sandbox.path("pipeline.yaml")).unwrap();
    sandbox.write("pipeline.yaml", text.replace("uses: split", "uses: spilt"));
    for question in [["check"].as_slice(), &["plan"], &["explain", "clean"]] {
        sandbox.refit(question).expect_code(4);
    }
}

#[test]
fn an_import_through_a_link_that_leads_elsewhere_now_is_noticed() {
    let sandbox = remembered();
    let part = |dedup: &str| {
        format!(
            "sources: {{ rows: nowhere }}\nstages:\n  clean: {{ uses: clean, inputs: {{ records: rows }}, with: {{ dedup: {dedup} }} }}\n"
        )
    };
    sandbox.write("one.yaml", part("exact"));
    sandbox.write("two.yaml", part("near"));
    let lead_to = |file: &str| {
        let _ = fs::remove_file(sandbox.path("part.yaml"));
        std::os::unix::fs::symlink(file, sandbox.path("part.yaml")).unwrap();
    };
    lead_to("one.yaml");
    sandbox.write(
        "pipeline.yaml",
        "name: linked\nsources: { faq: faq.jsonl }\nimports: { part: { from: part.yaml, sources: { rows: faq } } }\n",
    );
    thread::sleep(SETTLES);
    sandbox.refit(["run"]).expect_code(0);
    let known = memories(&sandbox).len();
    let all_cached = (Vec::new(), vec!["part/clean".to_owned()]);
    assert_eq!((states(&sandbox), memories(&sandbox).len()), (all_cached, known));
    lead_to("two.yaml");
    assert_eq!(states(&sandbox).0, ["part/clean"]);
}
