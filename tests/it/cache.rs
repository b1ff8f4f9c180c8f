//! Only what changed runs again, and the reason given is the true one.

use refit_tests::Sandbox;

const ALL: [&str; 7] = ["clean", "split", "tokens", "train", "before", "after", "compare"];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn the_second_run_is_all_cached_whatever_is_only_written_differently() {
    let sandbox = Sandbox::tiny();
    let first = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(sorted(first.stages("ran")), sorted(ALL.map(str::to_owned).to_vec()));
    assert_eq!(first.stage("clean")["reason"], "never ran");
    assert!(sandbox.path("out/adapter/adapter_model.safetensors").exists());
    assert!(sandbox.path("out/report.html").is_file());

    let again = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(again.stages("cached").len(), ALL.len());

    let text = fs_err::read_to_string(sandbox.path("pipeline.yaml")).unwrap();
    let text = text
        .replace("rank: 4, alpha: 8,", "alpha: 8.0, rank: 4, # as in the paper\n     ")
        .replace("learning_rate: 1e-2", "learning_rate: 0.010");
    sandbox.write("pipeline.yaml", format!("# a comment\n{text}"));
    let reworded = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(reworded.stages("cached").len(), ALL.len(), "{}", reworded.stdout);

    let moved = Sandbox::new();
    for part in ["pipeline.yaml", "faq.jsonl", "model", ".refit"] {
        fs_err::create_dir_all(moved.path("elsewhere")).unwrap();
        fs_err::rename(sandbox.path(part), moved.path("elsewhere").join(part)).unwrap();
    }
    let elsewhere = moved.refit(["run", "elsewhere", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(elsewhere.stages("cached").len(), ALL.len(), "{}", elsewhere.stdout);
}

#[test]
fn a_parameter_runs_what_depends_on_it_and_setting_it_back_runs_nothing() {
    let sandbox = Sandbox::tiny();
    sandbox.refit(["run", "--device", "cpu"]).expect_code(0);
    let changed = sandbox
        .refit(["run", "-S", "stages.train.with.learning_rate=2e-3", "--json", "--device", "cpu"])
        .expect_code(0);
    assert_eq!(sorted(changed.stages("ran")), ["after", "compare", "train"]);
    assert_eq!(changed.stage("train")["reason"], "parameter learning_rate: 0.01 → 0.002");
    let reason = changed.stage("after")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("input adapter: ") && reason.ends_with("(from train.adapter)"), "{reason}");

    let back = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(back.stages("cached").len(), ALL.len());
}

#[test]
fn a_result_that_comes_out_the_same_stops_the_wave() {
    let sandbox = Sandbox::tiny();
    sandbox.refit(["run", "--device", "cpu"]).expect_code(0);
    // A blank line in the data changes the source, not the records made of it.
    let data = fs_err::read_to_string(sandbox.path("faq.jsonl")).unwrap();
    sandbox.write("faq.jsonl", format!("{data}\n\n"));
    let run = sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    assert_eq!(run.stages("ran"), ["clean"]);
    let reason = run.stage("clean")["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("input records: ") && reason.ends_with("(from faq)"), "{reason}");
}
