//! `run --verify`: every step once more, and what does not make the same bytes is found.

use refit_tests::Sandbox;
use serde_json::Value;

const PIPELINE: &str = "\
name: verify
stages:
  steady: { uses: exec, with: { run: 'echo steady > $out', outputs: { out: out.txt } } }
  same: { uses: exec, with: { run: 'echo steady > $out', outputs: { out: out.txt } } }
  varying:
    uses: exec
    inputs: { x: steady.out }
    with: { run: 'cp $x $out/a; date +%N > $out/b', outputs: { out: parts/ } }
  declared:
    uses: exec
    deterministic: false
    inputs: { x: varying.out }
    with: { run: 'date +%N > $out', outputs: { out: out.txt } }
  failing:
    uses: exec
    inputs: { x: steady.out }
    with: { run: 'test ! -e ../../../../../once; touch ../../../../../once; cp $x $out', outputs: { out: out.txt } }
";

fn report(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Value {
    let ran = sandbox.refit(["run", "--json"].iter().chain(arguments)).expect_code(code);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn verdict<'r>(report: &'r Value, stage: &str) -> &'r Value {
    &report["stages"].as_array().unwrap().iter().find(|known| known["name"] == stage).unwrap()["verdict"]
}

#[test]
fn what_does_not_make_the_same_bytes_is_found() {
    let sandbox = Sandbox::new();
    let text = PIPELINE.replace("../../../../../once", &sandbox.path("once").display().to_string());
    sandbox.write("pipeline.yaml", &text);
    let first = report(&sandbox, &[], 0);
    let told = sandbox.refit(["run", "--verify"]).expect_code(11).stderr;
    assert!(told.contains("varying   differs  out (b): "), "{told}");
    assert!(told.contains("not the same bytes once more: varying, failing; what is kept stays."), "{told}");

    let second = report(&sandbox, &["--verify"], 11);
    // Two stages that are one step.
    assert_eq!(verdict(&second, "steady")["verdict"], "identical");
    assert_eq!(verdict(&second, "same")["verdict"], "identical");
    assert!(verdict(&second, "declared").is_null());
    assert_eq!(verdict(&second, "varying")["outputs"][0]["files"], serde_json::json!(["b"]));
    assert_eq!(verdict(&second, "failing")["error"]["code"], "program::failed");
    // What was kept before is kept still, and nothing has to run.
    for (then, now) in first["stages"].as_array().unwrap().iter().zip(second["stages"].as_array().unwrap()) {
        assert_eq!((&then["outputs"], &now["state"]), (&now["outputs"], &Value::from("cached")));
    }
    let third = report(&sandbox, &[], 0);
    assert!(third["stages"].as_array().unwrap().iter().all(|stage| stage["verdict"].is_null()));
}

#[test]
fn a_first_run_is_verified_too_and_only_what_was_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.yaml", PIPELINE);
    let told = sandbox.refit(["run", "--verify", "--to", "steady"]).expect_code(0).stderr;
    assert!(told.contains("steady    done"), "{told}");
    assert!(told.contains("steady    same     made the same bytes"), "{told}");
    assert!(told.contains("1 stage made the same bytes once more"), "{told}");
    sandbox.refit(["run", "--verify", "--dry-run"]).expect_code(2);
}
