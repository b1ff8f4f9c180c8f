//! What commands score, and how past runs are held beside each other.

use refit_tests::Sandbox;
use serde_json::{Value, json};

/// A training as a command, as people have them before they know refit.
const COMMAND: &str = r#"name: own
params: { lr: 0.1, note: first }
stages:
  train:
    uses: exec
    with:
      env: { LR: "${params.lr}", VERBOSE: true, NOTE: "${params.note}" }
      run: |
        printf '{"loss": %s, "acc": {"top1": 0.5}, "by": "me"}' "$LR" > $metrics
        for step in 1 2 3; do printf '{"step": %s, "loss": %s}\n' $step "$LR"; done > $history
        # a comment that is long enough for the line below it to be out of sight, whatever the terminal is
        echo "$VERBOSE" > $out
      outputs: { metrics: scores/metrics.json, history: loss.jsonl, out: out.txt }
"#;

fn trained() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.yaml", COMMAND);
    sandbox.refit(["run", "-q"]).expect_code(0);
    sandbox.refit(["run", "-q", "-S", "params.lr=0.2,0.05"]).expect_code(0);
    sandbox
}

#[test]
fn the_scores_of_a_command_are_those_of_its_file() {
    let sandbox = trained();
    let told = sandbox.refit(["runs", "--json", "--sort", "train.loss"]).expect_code(0).json();
    let losses: Vec<&Value> = told["runs"].as_array().unwrap().iter().map(|run| &run["scores"]["train.loss"]).collect();
    assert_eq!(losses, [&json!(0.05), &json!(0.1), &json!(0.2)]);
    let best = sandbox.refit(["best", "--metric", "train.loss", "--json"]).expect_code(0).json();
    assert_eq!(best["value"], json!(0.05), "{best}");
    // Also where the file says nothing of what is better, and whatever depth a number is at.
    let listed = sandbox.refit(["runs", "--csv", "--columns", "train.acc.top1"]).expect_code(0).stdout;
    assert_eq!(listed.lines().filter(|line| line.ends_with(",0.5")).count(), 3, "{listed}");
    // Numbers and truth values reach the command as they are written.
    let to = sandbox.path("got");
    sandbox.refit(["get", "train.out", "--to", to.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs_err::read_to_string(to).unwrap(), "true\n");
}

#[test]
fn the_history_of_a_command_is_plotted() {
    let sandbox = trained();
    let chart = sandbox.refit(["runs", "plot", "latest", "--metric", "loss"]).expect_code(0).stdout;
    assert!(chart.contains("train") && chart.contains("0.05"), "{chart}");
    let picture = sandbox.path("loss.svg");
    sandbox.refit(["runs", "plot", "latest", "--metric", "loss", "--to", picture.to_str().unwrap()]).expect_code(0);
    assert!(fs_err::read_to_string(picture).unwrap().contains("<svg"));
}

#[test]
fn of_a_long_command_what_changed_is_shown() {
    let sandbox = trained();
    let edited = COMMAND.replace("echo \"$VERBOSE\" > $out", "echo \"$VERBOSE\" $NOTE > $out");
    sandbox.write("pipeline.yaml", edited);
    let why = sandbox.refit(["explain", "train"]).expect_code(0).stdout;
    assert!(why.contains("$NOTE > $out"), "{why}");
    sandbox.refit(["run", "-q"]).expect_code(0);
    let told = sandbox.refit(["runs", "diff", "latest~1", "latest"]).expect_code(0).stdout;
    let line = told.lines().find(|line| line.contains("train.run")).unwrap();
    assert!(line.contains("$VERBOSE\\\" > $out") && line.contains("$VERBOSE\\\" $NOTE > $out"), "{told}");
}

#[test]
fn runs_are_shown_and_compared_as_tables_for_other_programs() {
    let sandbox = trained();
    let shown = sandbox.refit(["runs", "show", "latest", "--csv"]).expect_code(0).stdout;
    for line in
        ["what,name,value", "fact,status,ok", "state,train,ran", "score,train.loss,0.05", "parameter,params.lr,0.05"]
    {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    let compared = sandbox.refit(["runs", "diff", "latest~1", "latest", "--md"]).expect_code(0).stdout;
    assert!(compared.starts_with("| what | name | "), "{compared}");
    assert!(compared.contains("| score | train.loss | 0.2 | 0.05 |"), "{compared}");
    sandbox.refit(["runs", "diff", "latest~1", "latest", "--md", "--csv"]).expect_code(2);
}

#[test]
fn a_plan_is_in_the_order_of_the_run() {
    let sandbox = Sandbox::new();
    let stage = |name: &str, more: &str| {
        format!(
            "  {name}: {{ uses: exec, with: {{ run: 'echo {name} > $out', outputs: {{ out: out.txt }} }}{more} }}\n"
        )
    };
    let stages = [
        stage("first", ""),
        stage("late", ", priority: -1"),
        stage("after", ", inputs: { x: first.out }"),
        stage("urgent", ", priority: 5"),
        stage("known", ""),
    ];
    sandbox.write("pipeline.yaml", format!("name: order\nstages:\n{}", stages.concat()));
    sandbox.refit(["run", "-q", "--stage", "known"]).expect_code(0);
    let names = |told: Value| -> Vec<String> {
        let stages = told["stages"].as_array().unwrap().iter();
        stages.map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
    };
    let planned = names(sandbox.refit(["plan", "-j", "1", "--json"]).expect_code(0).json());
    assert_eq!(planned, ["known", "urgent", "first", "after", "late"]);
    let said = sandbox.refit(["run", "-j", "1"]).expect_code(0).stderr;
    let started: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(" start "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(started, planned[1..], "{said}");
}
