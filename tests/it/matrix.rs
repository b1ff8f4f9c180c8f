//! Matrices, defaults, imports and sweeps, from the file to the record.

use std::collections::BTreeSet;

use fs_err as fs;
use refit_tests::{Outcome, Sandbox, write_questions};
use serde_json::{Value, json};

fn sandbox(pipeline: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write("pipeline.yaml", pipeline);
    sandbox
}

const MATRIX: &str = "\
name: matrix
sources: { faq: faq.jsonl }
defaults: { split: { validation: 0.1 } }
stages:
  clean:
    uses: clean
    inputs: { records: faq }
    matrix: { dedup: [near, exact] }
    with: { dedup: \"${matrix.dedup}\" }
  split:
    uses: split
    matrix: { dedup: [near, exact], seed: [1, 2], exclude: [{ dedup: exact, seed: 2 }] }
    inputs: { records: clean.records }
    with: { seed: \"${matrix.seed}\", test: 0.2 }
outputs:
  out/train: split[*].train
  out/one: split[dedup=near,seed=2].test
";

fn names(outcome: &Outcome) -> BTreeSet<String> {
    let report = outcome.json();
    report["stages"].as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
}

fn entries(folder: &std::path::Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn copies_run_follow_their_axes_and_are_copied_out() {
    let sandbox = sandbox(MATRIX);
    let first = sandbox.refit(["run", "--json"]).expect_code(0);
    let expected = [
        "clean[dedup=exact]",
        "clean[dedup=near]",
        "split[dedup=exact,seed=1]",
        "split[dedup=near,seed=1]",
        "split[dedup=near,seed=2]",
    ];
    assert_eq!(names(&first), expected.map(String::from).into());
    assert!(first.stages("failed").is_empty());
    let out = entries(&sandbox.path("out/train"));
    assert_eq!(out, ["dedup=exact,seed=1", "dedup=near,seed=1", "dedup=near,seed=2"].map(String::from).into());
    assert!(sandbox.path("out/one/records.jsonl").exists());
    // One value more is one copy more; how a value is written makes no difference.
    sandbox.write("pipeline.yaml", MATRIX.replace("seed: [1, 2]", "seed: [0x1, 2.0, 3]"));
    let second = sandbox.refit(["run", "--json"]).expect_code(0);
    let made: Vec<String> = second.stages("ran");
    assert!(!made.is_empty() && made.iter().all(|name| name.contains("seed=3")), "{made:?}");
    assert_eq!(made.len() + second.stages("cached").len(), 7);
    // Names of stages take copies together.
    let some = sandbox.refit(["run", "--json", "--force=split[seed=3]", "--to", "split"]).expect_code(0);
    assert!(some.stages("ran").iter().all(|name| name.contains("seed=3")), "{}", some.stdout);
    let one = sandbox.refit(["get", "split[dedup=exact,seed=1].train", "--to", "copy"]).expect_code(0);
    assert!(sandbox.path("copy/records.jsonl").exists(), "{}", one.stderr);
    let several = sandbox.refit(["get", "split.train", "--to", "copies"]).expect_code(2);
    assert!(several.stderr.contains("name one of them"), "{}", several.stderr);
}

/// Equal steps of different copies are done once, also when they could run at the same time.
#[test]
fn copies_that_come_to_the_same_step_run_once() {
    let text = MATRIX.replace("dedup: [near, exact]", "dedup: [none, exact, near]").replace("exclude", "include");
    let sandbox = sandbox(&text.replace(", include: [{ dedup: exact, seed: 2 }]", ""));
    let report = sandbox.refit(["run", "--json", "-j", "4"]).expect_code(0);
    let keys: BTreeSet<String> = report.json()["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|stage| stage["state"] == "ran")
        .map(|stage| stage["key"].to_string())
        .collect();
    assert_eq!(keys.len(), report.stages("ran").len(), "{}", report.stdout);
}

#[test]
fn imported_stages_run_and_only_values_of_their_file_count() {
    let common = "\
params: { seed: 1 }
sources: { rows: nowhere.jsonl }
stages:
  clean: { uses: clean, inputs: { records: rows } }
  split: { uses: split, inputs: { records: clean.records }, with: { seed: \"${params.seed}\" } }
";
    let sandbox = sandbox(
        "sources: { faq: faq.jsonl }\nimports:\n  a: { from: parts/common.yaml, sources: { rows: faq } }\n  b: { from: parts/common.yaml, params: { seed: 2 }, sources: { rows: a/split.train } }\noutputs: { out: b/split.test }\n",
    );
    sandbox.write("parts/common.yaml", common);
    let first = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(first.stages("ran"), ["a/clean", "a/split", "b/clean", "b/split"]);
    assert!(sandbox.path("out/records.jsonl").exists());
    sandbox.write("parts/common.yaml", format!("# Said otherwise.\n{}", common.replace("seed: 1", "seed: 0x1")));
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("cached").len(), 4);
    sandbox.write("parts/common.yaml", common.replace("seed: 1", "seed: 5"));
    let third = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(third.stages("cached"), ["a/clean"], "b/clean reads what a/split makes: {}", third.stdout);
    sandbox.write("parts/common.yaml", common.replace("uses: split", "uses: spilt"));
    let wrong = sandbox.refit(["check"]).expect_code(4);
    assert!(wrong.stderr.contains("parts/common.yaml:5") && wrong.stderr.contains("imported here"), "{}", wrong.stderr);
}

const SWEEP: &str = "\
name: swept
params: { test: 0.2 }
sources: { faq: faq.jsonl }
stages:
  clean: { uses: clean, inputs: { records: faq } }
  split: { uses: split, inputs: { records: clean.records }, with: { seed: 1, test: \"${params.test}\" } }
  again: { uses: clean, inputs: { records: split.train } }
outputs: { out: again.records }
";

#[test]
fn a_sweep_is_one_graph_and_a_run_for_each_combination() {
    let sandbox = sandbox(SWEEP);
    let grid = ["-S", "stages.split.with.seed=1,2,3", "-S", "params.test=range(0.1,0.3,0.1)"];
    let planned = sandbox.refit(["plan", "--json"].iter().chain(&grid)).expect_code(0);
    assert_eq!(names(&planned).len(), 13, "{}", planned.stdout);
    let swept = sandbox.refit(["run", "--json"].iter().chain(&grid)).expect_code(0);
    let report = swept.json();
    assert_eq!(swept.stages("ran").iter().filter(|name| name.starts_with("clean")).count(), 1);
    assert!(names(&swept).contains("split[seed=2,test=0.1]"), "{}", swept.stdout);
    let runs = report["sweep"].as_array().unwrap();
    assert_eq!(runs.len(), 6);
    assert_eq!(runs[1]["values"], json!({ "stages.split.with.seed": 1, "params.test": 0.2 }));
    assert!(runs.iter().all(|run| run["status"] == "ok"));
    assert!(!sandbox.path("out").exists() && swept.stderr.contains("a sweep copies nothing out"), "{}", swept.stderr);
    // Each combination is on record as a run of its own, and the work of all is not.
    let listed = sandbox.refit(["runs", "ls", "--json"]).expect_code(0).json();
    let listed: BTreeSet<String> =
        listed["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, runs.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect());
    let shown = sandbox.refit(["runs", "show", "--json", runs[3]["run"].as_str().unwrap()]).expect_code(0).json();
    assert_eq!(shown["plan"]["variant"]["index"], 3);
    assert_eq!(shown["plan"]["variant"]["group"], report["run"]);
    assert_eq!(shown["plan"]["overrides"], json!(["stages.split.with.seed=2", "params.test=0.2"]));
    let names = |report: &Value| {
        let stages = report["stages"].as_array().unwrap();
        stages.iter().map(|stage| stage["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&shown["report"]), ["clean", "split", "again"]);
    // The chosen one by itself has nothing left to do but copy out.
    let one = ["run", "--json", "-S", "stages.split.with.seed=2", "-S", "params.test=0.2"];
    assert_eq!(sandbox.refit(one).expect_code(0).stages("cached").len(), 3);
    assert!(sandbox.path("out/records.jsonl").exists());
    assert!(sandbox.refit(["run", "--json"].iter().chain(&grid)).expect_code(0).stages("ran").is_empty());
}

#[test]
fn a_failure_in_one_combination_does_not_stop_the_others() {
    let sandbox = sandbox(SWEEP);
    sandbox.write("broken.jsonl", "{ no json\n");
    let swept = sandbox.refit(["run", "-k", "--json", "-S", "sources.faq=faq.jsonl,broken.jsonl"]).expect_code(3);
    let statuses: Vec<Value> =
        swept.json()["sweep"].as_array().unwrap().iter().map(|run| run["status"].clone()).collect();
    assert_eq!(statuses, ["ok", "failed"]);
    let listed = sandbox.refit(["runs", "ls", "--json", "--status", "ok"]).expect_code(0).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_comma_in_quotation_marks_is_no_sweep() {
    let sandbox = sandbox(SWEEP);
    let text = ["run", "--json", "-S", "description=\"a, b\"", "-S", "stages.clean.with.system='Be brief, please.'"];
    assert!(sandbox.refit(text).expect_code(0).json().get("sweep").is_none());
    let wrong = sandbox.refit(["run", "-S", "params.test=range(1,2,0)"]).expect_code(2);
    assert!(wrong.stderr.contains("logrange"), "{}", wrong.stderr);
}

const FAN_IN: &str = "\
stages:
  part:
    uses: exec
    matrix: { word: [b, a], times: [1, 2] }
    with:
      run: 'i=0; while [ $i -lt ${matrix.times} ]; do echo $word; i=$((i+1)); done > $out'
      env: { word: \"${matrix.word}\" }
      outputs: { out: out.txt }
  doubled:
    uses: exec
    matrix: part
    inputs: { in: part.out }
    with: { run: 'cat $in $in > $out', outputs: { out: out.txt } }
  all:
    uses: exec
    inputs: { parts: \"doubled[*].out\", ones: \"part[times=1,*].out\" }
    with: { run: 'ls $parts > $out; cat $parts/* $ones/* >> $out', outputs: { out: out.txt } }
outputs: { all.txt: all.out }
";

#[test]
fn all_copies_arrive_as_one_folder() {
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.yaml", FAN_IN);
    sandbox.refit(["run"]).expect_code(0);
    let names = "word=a,times=1\nword=a,times=2\nword=b,times=1\nword=b,times=2\n";
    let doubled = "a\na\n".to_owned() + "a\na\na\na\n" + "b\nb\n" + "b\nb\nb\nb\n";
    assert_eq!(fs::read_to_string(sandbox.path("all.txt")).unwrap(), format!("{names}{doubled}a\nb\n"));
    // The order in the file is no content.
    let turned = FAN_IN.replace("[b, a]", "[a, b]");
    sandbox.write("pipeline.yaml", turned);
    assert!(sandbox.refit(["run", "--json"]).expect_code(0).stages("ran").is_empty());
    let one = sandbox.refit(["get", "doubled[word=a,times=2].out", "--to", "one.txt"]).expect_code(0);
    assert_eq!(fs::read_to_string(sandbox.path("one.txt")).unwrap(), "a\na\na\na\n", "{}", one.stderr);
}
