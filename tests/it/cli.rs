//! What the commands around `run` say, and how they end.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use refit_tests::{Outcome, Sandbox, write_questions};
use serde_json::{Value, json};

const SMALL: &str = "\
name: small
params: { seed: 7 }
sources: { faq: faq.jsonl, a: a.jsonl, b: b.jsonl }
stages:
  clean: { uses: clean, inputs: { records: faq } }
  split: { uses: split, inputs: { records: clean.records }, with: { test: 4, seed: \"${params.seed}\" } }
  compare: { uses: ab-compare, inputs: { a: a, b: b } }
outputs: { out/report: compare.comparison }
";

/// A pipeline that needs no model: cleaning, splitting, comparing two files of predictions.
fn small() -> Sandbox {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    for (name, every) in [("a", 5), ("b", 2)] {
        let row = |row: usize| {
            let right = row.is_multiple_of(every);
            let prediction = if right { "Ask desk seven." } else { "No idea." };
            json!({
                "id": format!("r{row}"), "prompt": format!("Where is thing {row}?"), "reference": "Ask desk seven.",
                "prediction": prediction, "loss": 1.0, "scores": { "exact_match": f64::from(u8::from(right)) },
            })
        };
        let rows: String = (0..40).map(|number| format!("{}\n", row(number))).collect();
        sandbox.write(&format!("{name}.jsonl"), rows);
    }
    sandbox.write("pipeline.yaml", SMALL);
    sandbox
}

fn runs(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.refit(["runs", "--json"]).expect_code(0).json()["runs"].as_array().unwrap().clone()
}

#[test]
fn a_new_pipeline_is_valid_and_nothing_is_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.refit(["new", "mine"]).expect_code(0);
    sandbox.refit(["check", "mine"]).expect_code(0);
    sandbox.write("mine/pipeline.yaml", "name: changed");
    let again = sandbox.refit(["new", "mine"]).expect_code(2);
    assert!(again.stderr.contains("already holds pipeline.yaml"), "{}", again.stderr);
    assert_eq!(fs_err::read_to_string(sandbox.path("mine/pipeline.yaml")).unwrap(), "name: changed");
}

#[test]
fn explain_tells_the_reason_the_inputs_and_the_past() {
    let sandbox = small();
    let before = sandbox.refit(["explain", "split", "--json"]).expect_code(0).json();
    assert_eq!((&before["state"], &before["last_run"]), (&json!("run"), &Value::Null));
    assert_eq!(before["reason"], "after clean");

    sandbox.refit(["run"]).expect_code(0);
    let cached = sandbox.refit(["explain", "split", "--json"]).expect_code(0).json();
    assert_eq!((&cached["state"], &cached["inputs"]["records"]["from"]), (&json!("cached"), &json!("clean.records")));
    assert_eq!(cached["last_run"]["stage"]["state"], "ran");
    assert_eq!(cached["result"]["run"], cached["last_run"]["run"]);

    let changed = sandbox.refit(["explain", "split", "-S", "params.seed=8"]).expect_code(0);
    assert!(changed.stdout.starts_with("split (split): would run\n  parameter seed: 7 → 8\n"), "{}", changed.stdout);
    assert!(sandbox.refit(["explain", "splitt"]).expect_code(2).stderr.contains("clean, split, compare"));
}

#[test]
fn runs_are_listed_shown_compared_and_removed() {
    let sandbox = small();
    sandbox.refit(["run"]).expect_code(0);
    sandbox.refit(["run", "-S", "params.seed=8"]).expect_code(0);
    let listed = runs(&sandbox);
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["overrides"], json!(["params.seed=8"]), "the newest comes first");
    assert_eq!(listed[0]["stages"], json!({ "cached": 2, "ran": 1 }));
    assert!(listed[0]["scores"]["compare.verdict"].is_string(), "{}", listed[0]);

    let id = |run: &Value| run["run"].as_str().unwrap().to_owned();
    let (new, old) = (id(&listed[0]), id(&listed[1]));
    let tail = new.split_once('-').unwrap().1;
    let shown = sandbox.refit(["runs", "show", tail, "--json"]).expect_code(0).json();
    assert_eq!((&shown["run"], &shown["status"]), (&json!(new), &json!("ok")));

    let compared = sandbox.refit(["runs", "diff", &old, &new, "--json"]).expect_code(0).json();
    assert_eq!(compared["parameters"], json!({ "split.seed": { "a": 7, "b": 8 } }));
    assert_eq!(compared["inputs"], json!({}));
    assert!(compared["scores"].get("compare.verdict").is_some(), "{compared}");

    assert!(sandbox.refit(["runs", "show", "2"]).expect_code(2).stderr.contains("fits 2 runs"));
    sandbox.refit(["runs", "rm", &old]).expect_code(0);
    assert_eq!(runs(&sandbox).len(), 1);
    let back = sandbox.refit(["run", "--json"]).expect_code(0);
    assert_eq!(back.stages("cached").len(), 3, "results outlive the record of their run");
}

#[test]
fn get_copies_what_is_current_and_touches_nothing_of_others() {
    let sandbox = small();
    let stale = sandbox.refit(["get", "compare.comparison", "--to", "report"]).expect_code(10);
    assert!(stale.stderr.contains("never ran") && stale.stderr.contains("--to compare"), "{}", stale.stderr);
    sandbox.refit(["run"]).expect_code(0);
    let written = sandbox.refit(["get", "compare.comparison", "--to", "report", "--json"]).expect_code(0);
    assert_eq!(written.json()["written"], true);
    assert!(sandbox.path("report/report.html").is_file());
    let again = sandbox.refit(["get", "compare.comparison", "--to", "report", "--json"]).expect_code(0);
    assert_eq!(again.json()["written"], false);

    sandbox.write("report/report.html", "mine");
    sandbox.refit(["get", "compare.comparison", "--to", "report"]).expect_code(1);
    assert_eq!(fs_err::read_to_string(sandbox.path("report/report.html")).unwrap(), "mine");
    assert!(sandbox.refit(["get", "split.tst", "--to", "x"]).expect_code(2).stderr.contains("train, validation, test"));
    sandbox.refit(["get", "split", "--to", "x"]).expect_code(2);
}

#[test]
fn a_run_that_cannot_copy_its_results_out_is_on_record() {
    let sandbox = small();
    sandbox.write("out/report/mine.txt", "mine");
    let refused = sandbox.refit(["run"]).expect_code(1);
    assert!(refused.stderr.contains("mine.txt"), "{}", refused.stderr);
    assert_eq!(fs_err::read_to_string(sandbox.path("out/report/mine.txt")).unwrap(), "mine");
    let run = &runs(&sandbox)[0];
    assert_eq!((&run["status"], &run["stages"]), (&json!("failed"), &json!({ "ran": 3 })));
}

#[test]
fn the_store_is_measured_verified_and_cleared_only_on_request() {
    let sandbox = small();
    sandbox.refit(["cache", "verify"]).expect_code(1);
    sandbox.refit(["run"]).expect_code(0);
    let used = sandbox.refit(["cache", "--json"]).expect_code(0).json();
    assert_eq!((&used["runs"], &used["manifests"]), (&json!(1), &json!(3)));
    sandbox.refit(["cache", "verify"]).expect_code(0);

    sandbox.refit(["cache", "gc"]).expect_code(2);
    sandbox.refit(["run", "-S", "params.seed=8"]).expect_code(0);
    let dry = sandbox.refit(["cache", "gc", "--keep-runs", "1", "--dry-run", "--json"]).expect_code(0).json();
    assert_eq!((dry["results"].as_array().unwrap().len(), dry["runs"].as_array().unwrap().len()), (1, 1));
    assert_eq!(runs(&sandbox).len(), 2, "a dry run drops nothing");
    let done = sandbox.refit(["cache", "gc", "--keep-runs", "1", "--json"]).expect_code(0).json();
    assert_eq!(done["freed_bytes"], dry["freed_bytes"]);
    assert_eq!(sandbox.refit(["plan", "-S", "params.seed=8", "--json"]).json()["status"], "fresh");
    assert_eq!(sandbox.refit(["plan", "--json"]).json()["status"], "stale");
}

#[test]
fn readers_need_no_lock_and_a_run_names_who_holds_it() {
    let sandbox = small();
    sandbox.refit(["run"]).expect_code(0);
    let held = File::options().write(true).open(sandbox.path(".refit/lock")).unwrap();
    held.lock().unwrap();
    for reader in [
        &["plan"][..],
        &["explain", "split"],
        &["graph"],
        &["runs"],
        &["cache"],
        &["cache", "verify"],
        &["doctor"],
        &["get", "split.test", "--to", "test"],
    ] {
        sandbox.refit(reader).expect_code(0);
    }
    assert!(sandbox.refit(["run", "--no-wait"]).expect_code(5).stderr.contains("in use by"));
    sandbox.refit(["runs", "rm", "2"]).expect_code(5);
    sandbox.refit(["cache", "gc", "--keep-runs", "1"]).expect_code(5);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.command(["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));

    let mut command = sandbox.command(["schema"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(Stdio::from(full)).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_forced_must_be_a_stage_that_is_selected() {
    let sandbox = small();
    sandbox.refit(["run"]).expect_code(0);
    assert!(sandbox.refit(["run", "--force=splitt"]).expect_code(2).stderr.contains("no stage `splitt`"));
    sandbox.refit(["run", "--from", "split", "--force=clean"]).expect_code(2);
    let forced = sandbox.refit(["run", "--from", "split", "--force", "--json"]).expect_code(0);
    assert_eq!((forced.stages("ran"), forced.stages("cached").len()), (vec!["split".to_owned()], 2));
    assert_eq!(forced.stage("split")["reason"], "forced");
    let planned = sandbox.refit(["run", "-n", "--force=compare", "--json"]).expect_code(0);
    assert_eq!(planned.stages("run"), ["compare"]);
}

#[test]
fn what_was_not_asked_for_is_skipped_and_no_failure() {
    let sandbox = small();
    let run = sandbox.refit(["run", "--stage", "compare", "--json"]).expect_code(0);
    assert_eq!(
        (run.stages("ran"), run.stages("skipped")),
        (vec!["compare".to_owned()], vec!["clean".into(), "split".into()])
    );
    let planned = sandbox.refit(["plan", "--stage", "split", "--json"]).expect_code(0);
    assert_eq!(
        (planned.stages("skipped"), planned.stages("blocked")),
        (vec!["clean".to_owned()], vec!["split".into()])
    );
    let blocked = sandbox.refit(["run", "--stage", "split"]).expect_code(3);
    assert!(blocked.stderr.contains("needs clean"), "{}", blocked.stderr);
}

#[test]
fn a_failing_stage_says_where_and_what_to_do() {
    let sandbox = small();
    sandbox.write("faq.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n{broken\n");
    let failed = sandbox.refit(["run", "-k", "-S", "stages.clean.with.on_error=fail"]).expect_code(3);
    assert!(failed.stderr.contains("faq.jsonl:2: "), "{}", failed.stderr);
    assert!(failed.stderr.contains("1 ran, 1 failed, 1 blocked"), "{}", failed.stderr);
    let quiet = sandbox.refit(["run", "-q", "-S", "stages.clean.with.on_error=fail"]).expect_code(3);
    assert!(quiet.stderr.contains("faq.jsonl:2: "), "errors are shown even with --quiet: {}", quiet.stderr);
    let last = sandbox.refit(["explain", "clean", "--json"]).expect_code(0).json();
    assert_eq!(last["last_run"]["stage"]["state"], "failed");
}

#[test]
fn quiet_is_quiet_and_colour_is_asked_for() {
    let sandbox = small();
    let quiet = sandbox.refit(["run", "-q"]).expect_code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    assert!(!sandbox.refit(["plan"]).expect_code(0).stdout.contains('\u{1b}'));
    assert!(sandbox.refit(["plan", "--color", "always"]).expect_code(0).stdout.contains('\u{1b}'));
}

#[test]
fn an_interrupted_run_ends_its_workers_and_says_so() {
    let sandbox = small();
    // Enough rows that the stage still runs when the signal comes.
    write_questions(&sandbox.path("faq.jsonl"), 400_000);
    let mut child = sandbox.command(["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let started = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("clean ") && line.contains("start"));
    assert!(started);
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.last().unwrap().starts_with("interrupted; what finished is kept"), "{rest:?}");
    let run = &runs(&sandbox)[0];
    assert_eq!((&run["status"], run["stages"].get("blocked")), (&json!("interrupted"), None));
}

#[test]
fn the_graph_is_drawn_in_every_format() {
    let sandbox = small();
    insta::assert_snapshot!(sandbox.refit(["graph"]).expect_code(0).stdout);
    let drawn = sandbox.refit(["graph", "--format", "json"]).expect_code(0).json();
    assert_eq!(drawn["edges"].as_array().unwrap().len(), 4);
    for format in ["mermaid", "dot"] {
        let Outcome { stdout, .. } = sandbox.refit(["graph", "--format", format]).expect_code(0);
        assert!(stdout.contains("ab-compare") && stdout.contains("out/report"), "{stdout}");
    }
}

#[test]
fn doctor_tells_what_a_bug_report_needs_and_no_secret() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["doctor", "--json"]);
    command.env("HF_TOKEN", "hf_secret").env("HF_ENDPOINT", "http://127.0.0.1:9").env("REFIT_OFFLINE", "1");
    let told = Outcome::of(command).expect_code(0);
    assert!(!told.stdout.contains("hf_secret"));
    let told = told.json();
    assert_eq!((&told["hub"]["token"], &told["hub"]["endpoint"]), (&json!(true), &json!("http://127.0.0.1:9")));
    assert_eq!((&told["offline"], &told["store"]["exists"]), (&json!(true), &json!(false)));
    assert!(!sandbox.path(".refit").exists(), "looking makes no store");
}
