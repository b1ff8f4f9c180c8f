//! Looking back over many runs: listing, sorting, filtering, naming, picking the best.

use std::time::{Duration, Instant};

use refit_tests::{Outcome, Sandbox, write_questions};
use serde_json::{Value, json};

const SEEDS: &str = "\
name: seeds
params: { seed: 7 }
sources: { faq: faq.jsonl }
stages:
  # What everything begins with.
  clean: { uses: clean, inputs: { records: faq }, with: { dedup: exact } }
  split: { uses: split, inputs: { records: clean.records }, with: { test: 4, seed: \"${params.seed}\" } }
";

fn seeds() -> Sandbox {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write("pipeline.yaml", SEEDS);
    sandbox
}

/// A store with the records of runs that never happened: what a year of experiments leaves behind.
fn with_past(count: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(".refit/format", "1\n");
    for number in 0..count {
        let id = format!("20261123T{:02}{:02}{:02}-{number:06x}", number / 3600, number / 60 % 60, number % 60);
        let (rank, rouge) = ([4, 8, 16][number % 3], f64::from(u32::try_from(number * 37 % 1000).unwrap()) / 1000.0);
        let stages: serde_json::Map<String, Value> = (0..8)
            .map(|stage| {
                let with = json!({ "rank": rank, "alpha": 32, "seed": number, "learning_rate": 1e-4 });
                (format!("stage{stage}"), json!({ "uses": "train-lora", "version": 1, "with": with, "inputs": {} }))
            })
            .collect();
        let started = format!("2026-11-23T{:02}:{:02}:{:02}Z", number / 3600, number / 60 % 60, number % 60);
        let plan = json!({
            "pipeline": if number % 10 == 0 { "other" } else { "sweep" }, "file": "/nowhere/pipeline.yaml", "overrides": [],
            "params": { "rank": rank }, "device": "cpu", "refit": "0.1.0", "started": started, "stages": stages,
        });
        let report = |name: &str, scores: Value| {
            json!({
                "name": name, "kind": "evaluate", "state": "ran", "key": null, "reason": null, "reasons": [], "seconds": 1.0,
                "peak_memory": 1, "outputs": {}, "warnings": [], "facts": {}, "scores": scores,
            })
        };
        let metrics =
            json!({ "rouge_l": rouge, "bleu": 10.0, "loss": 2.0 - rouge, "rouge_1": 0.5, "rouge:lf-l": 50.0 });
        let report = json!({
            "run": id, "pipeline": plan["pipeline"], "status": "ok", "started": started,
            "seconds": 12.5, "stages": [report("before", json!({ "rouge_l": 0.1 })), report("after", metrics)],
            "exported": {}, "sources": {},
        });
        sandbox.write(&format!(".refit/runs/{id}/plan.json"), plan.to_string());
        sandbox.write(&format!(".refit/runs/{id}/report.json"), report.to_string());
    }
    sandbox
}

fn ids(told: &Value) -> Vec<String> {
    told["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_thousand_runs_are_listed_at_once_even_without_their_summaries() {
    let sandbox = with_past(1000);
    let timed = |what: &dyn Fn()| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    };
    let list = || {
        let arguments = ["runs", "-n", "0", "--sort", "-after.rouge_l", "--json"];
        let listed = sandbox.refit(arguments).expect_code(0).json();
        assert_eq!(ids(&listed).len(), 1000);
    };
    // On a busy machine, everything takes longer alike: also to read what is listed, file by file.
    let read = || {
        for run in fs_err::read_dir(sandbox.path(".refit/runs")).unwrap() {
            for name in ["plan.json", "report.json"] {
                let text = fs_err::read(run.as_ref().unwrap().path().join(name)).unwrap();
                serde_json::from_slice::<Value>(&text).unwrap();
            }
        }
    };
    let (all, plain) =
        (0..5).fold((Duration::MAX, Duration::MAX), |(all, plain), _| (all.min(timed(&list)), plain.min(timed(&read))));
    assert!(
        all < Duration::from_millis(200) || all < plain * 3,
        "{all:?} for the list, {plain:?} to read the same files"
    );
}

#[test]
fn runs_are_sorted_filtered_and_shown_by_what_tells_them_apart() {
    let sandbox = with_past(30);
    let mut command = sandbox.command(["runs", "--sort", "-after.rouge_l", "-n", "4"]);
    command.env("TZ", "UTC");
    let table = Outcome::of(command).expect_code(0);
    insta::assert_snapshot!(table.stdout);
    assert!(table.stderr.contains("26 runs more"), "{}", table.stderr);

    let where_ = ["runs", "--where", "params.rank=8", "--where", "after.rouge_l>0.3", "--pipeline", "sweep", "--json"];
    let found = sandbox.refit(where_).expect_code(0).json();
    assert!(!ids(&found).is_empty());
    for run in found["runs"].as_array().unwrap() {
        assert_eq!((&run["parameters"]["stage3.rank"], &run["pipeline"]), (&json!(8), &json!("sweep")));
        assert!(run["scores"]["after.rouge_l"].as_f64().unwrap() > 0.3);
    }
    assert_eq!(sandbox.refit(["runs", "--status", "failed", "--json"]).expect_code(0).json()["runs"], json!([]));
    let since = sandbox.refit(["runs", "--since", "2026-11-23T00:00:20Z", "--json"]).expect_code(0).json();
    assert_eq!(ids(&since).len(), 10);

    let csv = sandbox.refit(["runs", "-n", "2", "--csv", "--columns", "params.rank,after.r*"]).expect_code(0);
    insta::assert_snapshot!(csv.stdout);
    let markdown = sandbox.refit(["runs", "-n", "2", "--md", "--columns", "params.rank,seconds"]).expect_code(0);
    insta::assert_snapshot!(markdown.stdout);

    let unknown = sandbox.refit(["runs", "--where", "after.rogue_l>0.3"]).expect_code(2);
    assert!(unknown.stderr.contains("did you mean `after.rouge_l`?"), "{}", unknown.stderr);
    sandbox.refit(["runs", "--sort", "nothing"]).expect_code(2);
    sandbox.refit(["runs", "--where", "nothing"]).expect_code(2);
}

#[test]
fn the_best_run_is_picked_by_what_the_metric_means() {
    let sandbox = with_past(30);
    let best = |arguments: &[&str]| sandbox.refit([&["best", "--json"], arguments].concat()).expect_code(0).json();
    let most = best(&["--metric", "after.rouge_l"]);
    let least = best(&["--metric", "after.loss"]);
    assert_eq!((&most["run"], &most["compared"]), (&least["run"], &json!(30)), "less loss is better by itself");
    assert_eq!(most["value"], most["scores"]["after.rouge_l"]);
    let worst = best(&["--metric", "after.rouge_l", "--min", "--where", "params.rank=8"]);
    assert!(worst["value"].as_f64() < most["value"].as_f64() && worst["parameters"]["params.rank"] == 8);
    let told = sandbox.refit(["best", "--metric", "after.rouge_l"]).expect_code(0);
    assert!(told.stdout.contains("after.rouge_l") && told.stdout.contains("params.rank"), "{}", told.stdout);
    assert!(sandbox.refit(["best", "--metric", "pipeline"]).expect_code(2).stderr.contains("none of 30 runs"));
}

#[test]
fn what_the_best_run_made_is_copied_out() {
    let sandbox = seeds();
    for seed in ["7", "8"] {
        sandbox.refit(["run", "-q", "-S", &format!("params.seed={seed}")]).expect_code(0);
    }
    let get = ["best", "--metric", "params.seed", "--min", "--get", "split.test", "--to", "least", "--json"];
    let best = sandbox.refit(get).expect_code(0).json();
    assert_eq!((&best["value"], &best["copied"]["written"]), (&json!(7), &json!(true)));
    assert!(sandbox.path("least/records.jsonl").is_file());
    let wrong = sandbox.refit(["best", "--metric", "params.seed", "--get", "split.tst", "--to", "x"]).expect_code(1);
    assert!(wrong.stderr.contains("no output `split.tst`"), "{}", wrong.stderr);
}

/// A stage whose answer is not in its parameters: it is told through a file that nothing declares.
fn undetermined() -> Sandbox {
    let sandbox = Sandbox::new();
    let answer = sandbox.path("answer");
    sandbox.write(
        "pipeline.yaml",
        format!(
            "name: undetermined
stages:
  t:
    uses: exec
    with:
      run: 'a=$(cat {answer}); mkdir $m $s; echo model $a > $m/weights; printf \"{{\\\"acc\\\": $a}}\" > $s/metrics.json'
      outputs: {{ m: model, s: scores }}
",
            answer = answer.display()
        ),
    );
    sandbox
}

#[test]
fn what_a_past_run_had_is_handed_out_though_the_stage_made_something_else_since() {
    let sandbox = undetermined();
    let run = |name: &str, answer: &str| {
        sandbox.write("answer", answer);
        sandbox.refit(["run", "-q", "--force", "--name", name]).expect_code(0);
        sandbox.refit(["runs", "show", name, "--json"]).expect_code(0).json()["run"].as_str().unwrap().to_owned()
    };
    let good = run("good", "0.9");
    run("bad", "0.1");
    let best = ["best", "--metric", "t.acc", "--get", "t.m", "--to", "best"];
    let told = sandbox.refit(best).expect_code(0);
    assert!(told.stdout.contains("good") && told.stdout.contains("0.9"), "{}", told.stdout);
    assert_eq!(fs_err::read_to_string(sandbox.path("best/weights")).unwrap(), "model 0.9\n");
    // What the key finds is the newest, as before.
    sandbox.refit(["get", "t.m", "--to", "newest"]).expect_code(0);
    assert_eq!(fs_err::read_to_string(sandbox.path("newest/weights")).unwrap(), "model 0.1\n");

    // A run that is kept keeps its own, and takes it along.
    sandbox.refit(["cache", "pin", "good"]).expect_code(0);
    run("worse", "0.05");
    sandbox.refit(["cache", "gc", "--keep-runs", "1"]).expect_code(0);
    sandbox.refit(["cache", "export", "good", "--to", "good.refit"]).expect_code(0);
    let other = Sandbox::new();
    fs_err::copy(sandbox.path("pipeline.yaml"), other.path("pipeline.yaml")).unwrap();
    fs_err::copy(sandbox.path("good.refit"), other.path("good.refit")).unwrap();
    other.refit(["cache", "import", "good.refit"]).expect_code(0);
    other.refit(best).expect_code(0);
    assert_eq!(fs_err::read_to_string(other.path("best/weights")).unwrap(), "model 0.9\n");

    // What is gone is refused by name.
    sandbox.refit(["cache", "unpin", "good"]).expect_code(0);
    sandbox.refit(["cache", "gc", "--keep-runs", "1", "--older-than", "7d"]).expect_code(0);
    let pinned_no_more = sandbox.refit(["cache", "export", &good, "--to", "still.refit"]);
    pinned_no_more.expect_code(0);
    fs_err::remove_dir_all(sandbox.path("best")).unwrap();
    let manifests = walkdir::WalkDir::new(sandbox.path(".refit/manifests"));
    for file in
        manifests.into_iter().flatten().filter(|file| file.file_name().to_string_lossy().matches('.').count() == 2)
    {
        fs_err::remove_file(file.path()).unwrap();
    }
    let gone = sandbox.refit(best).expect_code(1);
    assert!(gone.stderr.contains(&format!("`t.m` of run {good} is not in the store any more")), "{}", gone.stderr);
    assert!(gone.stderr.contains("--from-run") && !sandbox.path("best").exists(), "{}", gone.stderr);
    let export = sandbox.refit(["cache", "export", &good, "--to", "gone.refit"]).expect_code(0);
    assert!(export.stderr.contains("1 result of the run went") && export.stderr.contains(": t"), "{}", export.stderr);
}

#[test]
fn runs_have_names_and_tags() {
    let sandbox = seeds();
    sandbox.refit(["run", "-q", "--name", "baseline", "--tag", "a", "--tag", "b"]).expect_code(0);
    sandbox.refit(["run", "-q", "-S", "params.seed=8"]).expect_code(0);
    let show = |run: &str| sandbox.refit(["runs", "show", run, "--json"]).expect_code(0).json();
    let (old, new) = (show("baseline"), show("latest"));
    assert_eq!((&old["name"], &old["tags"]), (&json!("baseline"), &json!(["a", "b"])));
    assert_eq!(show("latest~1")["run"], old["run"]);

    sandbox.refit(["runs", "tag", "latest", "+shipped"]).expect_code(0);
    let tags = sandbox.refit(["runs", "tag", "--json", "baseline", "+c", "-a"]).expect_code(0).json();
    assert_eq!(tags["tags"], json!(["b", "c"]));
    let tagged = sandbox.refit(["runs", "--tag", "shipped", "--json"]).expect_code(0).json();
    assert_eq!(ids(&tagged), [new["run"].as_str().unwrap()]);

    sandbox.refit(["runs", "name", "latest", "baseline"]).expect_code(0);
    assert_eq!(show("baseline")["run"], new["run"], "the newest of a name is meant");
    sandbox.refit(["runs", "name", "baseline", "--none"]).expect_code(0);
    assert_eq!(show("baseline")["run"], old["run"]);
    assert!(sandbox.refit(["runs", "tag", "latest", "-x", "--json"]).expect_code(2).stderr.contains("before the run"));
    for wrong in ["latest", "a b", "20261123T175301-4f2a9c"] {
        sandbox.refit(["runs", "name", "latest", wrong]).expect_code(2);
    }
    sandbox.refit(["run", "-q", "--name", "latest"]).expect_code(2);
}

/// Rewrites the rows of the source: one more, and another answer in the third.
fn edit_source(sandbox: &Sandbox) {
    let text = fs_err::read_to_string(sandbox.path("faq.jsonl")).unwrap();
    let mut rows: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    rows[2] = json!({ "instruction": "Where is the lamp kept now?", "output": "On the shelf." }).to_string();
    rows.push(json!({ "instruction": "Who waters the plants?", "output": "Nobody so far." }).to_string());
    sandbox.write("faq.jsonl", rows.join("\n"));
}

#[test]
fn explain_walks_up_to_what_changed_down_to_the_row() {
    let sandbox = seeds();
    sandbox.refit(["run", "-q", "--name", "old"]).expect_code(0);
    edit_source(&sandbox);
    let told = sandbox.refit(["explain", "split", "-S", "params.seed=8"]).expect_code(0).stdout;
    let causes: Vec<&str> = told.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        causes,
        ["  parameter seed: 7 → 8", "  source faq: 1 row added, 1 changed (row 3), 1 stage up (clean → split)"]
    );
    let told = sandbox.refit(["explain", "split", "--json"]).expect_code(0).json();
    assert_eq!((&told["causes"][0]["reason"], &told["causes"][0]["distance"]), (&json!("source"), &json!(1)));
    assert_eq!(told["causes"][0]["detail"]["rows"]["changed"], json!([3]));

    sandbox.refit(["run", "-q", "-S", "params.seed=8"]).expect_code(0);
    let all = sandbox.refit(["explain", "old", "latest"]).expect_code(0);
    assert_eq!(all.stdout, "source faq: 1 row added, 1 changed (row 3) → clean, split\nsplit: parameter seed: 7 → 8\n");
    let one = sandbox.refit(["explain", "old", "latest", "split"]).expect_code(0).stdout;
    assert!(one.contains("  input records (clean.records): 1 row added, 1 changed"), "{one}");
    assert!(sandbox.refit(["explain", "latest", "latest"]).expect_code(0).stderr.contains("all of 2 stages the same"));
    sandbox.refit(["explain", "old", "nobody"]).expect_code(2);
    sandbox.refit(["explain", "old", "latest", "nothing"]).expect_code(2);
    assert!(sandbox.refit(["explain", "clean"]).expect_code(0).stdout.starts_with("clean (clean): cached"));
}

#[test]
fn explain_names_the_file_that_changed_in_a_folder() {
    let sandbox = Sandbox::new();
    sandbox.write("data/readme.jsonl", "");
    write_questions(&sandbox.path("data/a.jsonl"), 20);
    write_questions(&sandbox.path("data/b.jsonl"), 20);
    sandbox.write(
        "pipeline.yaml",
        "sources: { data: data }\nstages: { clean: { uses: clean, inputs: { records: data } } }\n",
    );
    sandbox.refit(["run", "-q"]).expect_code(0);
    write_questions(&sandbox.path("data/b.jsonl"), 21);
    write_questions(&sandbox.path("data/c.jsonl"), 1);
    let told = sandbox.refit(["explain", "clean"]).expect_code(0).stdout;
    assert!(told.contains("  source data: changed b.jsonl; added c.jsonl\n"), "{told}");
}

#[test]
fn a_run_is_repeated_from_its_record_and_held_against_it() {
    let sandbox = seeds();
    sandbox.refit(["run", "-q", "--name", "first", "-S", "params.seed=9", "--device", "cpu"]).expect_code(0);
    let before = fs_err::read_to_string(sandbox.path("faq.jsonl")).unwrap();
    // Whatever the file says by now.
    sandbox.write("pipeline.yaml", "name: other\nstages: {}\n");
    let shown = sandbox.refit(["runs", "show", "first", "--pipeline"]).expect_code(0).stdout;
    assert_eq!(shown, SEEDS.replace("seed: 7", "seed: 9"), "comments stay");

    let again = sandbox.refit(["run", "--from-run", "first", "--force", "--json"]).expect_code(0);
    assert_eq!(again.stages("ran"), ["clean", "split"]);
    assert_eq!(again.json()["repeated"]["identical"], true);
    let plan = sandbox.refit(["runs", "show", "latest", "--json"]).json()["plan"].clone();
    assert_eq!((&plan["overrides"], &plan["device"]), (&json!(["params.seed=9"]), &json!("cpu")));

    edit_source(&sandbox);
    let refused = sandbox.refit(["run", "--from-run", "first"]).expect_code(11);
    assert!(refused.stderr.contains("source faq: "), "{}", refused.stderr);
    let other = sandbox.refit(["run", "--from-run", "first", "--allow-changed-sources", "--json"]).expect_code(11);
    let repeated = other.json()["repeated"].clone();
    assert_eq!(
        (&repeated["identical"], &repeated["outputs"]["clean.records"]["identical"]),
        (&json!(false), &json!(false))
    );
    sandbox.write("faq.jsonl", before);
    sandbox.refit(["run", "--from-run", "first"]).expect_code(0);
    sandbox.refit(["run", "--from-run", "first", "-S", "params.seed=1"]).expect_code(2);
    sandbox.refit(["run", "--from-run", "nobody"]).expect_code(2);
}

#[test]
fn a_sweep_is_repeated_as_a_sweep_and_each_of_its_runs_by_itself() {
    let sandbox = seeds();
    let sweep = sandbox.refit(["run", "--json", "-S", "params.seed=7,8"]).expect_code(0).json();
    let id = sweep["run"].as_str().unwrap();
    let again = sandbox.refit(["run", "--from-run", id, "--force", "--json"]).expect_code(0).json();
    let values: Vec<&Value> =
        again["sweep"].as_array().unwrap().iter().map(|run| &run["values"]["params.seed"]).collect();
    assert_eq!(values, [7, 8]);
    assert_eq!(again["repeated"]["identical"], true);
    let outputs = again["repeated"]["outputs"].as_object().unwrap();
    assert!(outputs.contains_key("split[seed=7].test") && outputs.contains_key("split[seed=8].test"), "{outputs:?}");
    let second = again["sweep"][1]["run"].as_str().unwrap();
    let one = sandbox.refit(["run", "--from-run", second, "--json"]).expect_code(0).json();
    assert_eq!((&one["sweep"], &one["repeated"]["identical"]), (&Value::Null, &json!(true)));
    for (run, name) in [("latest", "now.refit"), ("latest~1", "before.refit")] {
        sandbox.refit(["cache", "export", run, "--to", name]).expect_code(0);
        sandbox.refit(["cache", "pin", run]).expect_code(0);
        sandbox.refit(["cache", "unpin", run]).expect_code(0);
    }
}

#[test]
fn two_runs_are_compared_down_to_what_each_stage_made() {
    let sandbox = seeds();
    sandbox.refit(["run", "-q"]).expect_code(0);
    sandbox.refit(["run", "-q", "-S", "params.seed=8"]).expect_code(0);
    let told = sandbox.refit(["runs", "diff", "latest~1", "latest", "--json"]).expect_code(0).json();
    assert_eq!(told["parameters"], json!({ "split.seed": { "a": 7, "b": 8 } }));
    let outputs: Vec<&String> = told["outputs"].as_object().unwrap().keys().collect();
    assert!(outputs.iter().all(|name| name.starts_with("split.")) && !outputs.is_empty(), "{outputs:?}");
}

#[test]
fn a_plan_says_how_long_it_will_take_as_far_as_that_is_known() {
    let sandbox = seeds();
    let estimate = |arguments: &[&str]| {
        let planned = sandbox.refit([&["plan", "--json"], arguments].concat()).expect_code(0).json();
        planned["estimate"].clone()
    };
    assert_eq!(estimate(&["-j", "4"]), json!({ "seconds": 0.0, "jobs": 4, "unknown": 2 }));
    assert!(sandbox.refit(["plan"]).expect_code(0).stderr.contains("is not known: never ran"));
    sandbox.refit(["run", "-q"]).expect_code(0);
    assert_eq!(estimate(&["-j", "1"])["seconds"], 0.0, "nothing to run");
    let all = estimate(&["-S", "stages.clean.with.dedup=none", "-j", "1"]);
    let one = estimate(&["-S", "params.seed=8", "-j", "1"]);
    assert_eq!((&all["unknown"], &one["unknown"]), (&json!(0), &json!(0)));
    assert!(all["seconds"].as_f64() > one["seconds"].as_f64() && one["seconds"].as_f64() > Some(0.0), "{all} {one}");
    let told = sandbox.refit(["plan", "-S", "params.seed=8", "-j", "2"]).expect_code(0).stderr;
    assert!(told.contains("1 of 2 stages would run, about ") && told.contains(", 2 steps at a time"), "{told}");
}

#[test]
fn files_that_a_run_imported_are_on_record_as_they_were() {
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 40);
    sandbox.write(
        "pipeline.yaml",
        "sources: { faq: faq.jsonl }\nimports:\n  a: { from: parts/clean.yaml, sources: { rows: faq } }\n",
    );
    let part = "\
sources: { rows: nowhere }
stages:
  clean: { uses: clean, inputs: { records: rows }, with: { dedup: exact } }
";
    sandbox.write("parts/clean.yaml", part);
    sandbox.refit(["run", "--name", "first"]).expect_code(0);
    sandbox.write("parts/clean.yaml", part.replace("dedup: exact", "dedup: near"));
    assert_eq!(sandbox.refit(["run", "--json"]).expect_code(0).stages("ran"), ["a/clean"]);
    let shown = sandbox.refit(["runs", "show", "first", "--pipeline"]).expect_code(0);
    assert!(shown.stderr.contains("`--import parts/clean.yaml`"), "{}", shown.stderr);
    let imported = sandbox.refit(["runs", "show", "first", "--import", "parts/clean.yaml"]).expect_code(0).stdout;
    assert_eq!(imported, part);
    sandbox.refit(["runs", "show", "first", "--import", "other.yaml"]).expect_code(2);
    // The repetition reads what was imported then, even where nothing of it is left.
    fs_err::remove_dir_all(sandbox.path("parts")).unwrap();
    let again = sandbox.refit(["run", "--from-run", "first", "--json"]).expect_code(0);
    assert_eq!(again.stages("cached"), ["a/clean"]);
}
