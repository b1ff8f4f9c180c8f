//! How much memory trainings and evaluations need: told beforehand, and what becomes of a training that gets less.

use std::{path::Path, process::Command};

use refit_tests::{MemoryGroup, Outcome, Sandbox, binary, write_questions, write_wide_model};
use serde_json::Value;

use crate::crash::{kill, wait_for_worker};

const WIDE: &str = "\
name: wide
sources: { faq: faq.jsonl, model: model }
stages:
  clean:  { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: model, train: clean.records } }
  train:
    uses: train-lora
    inputs: { model: model, tokens: tokens.tokens }
    with: { rank: 2, target_modules: [q_proj], max_steps: 3, batch_size: 8, seed: 3 }
outputs: { out/history: train.history, out/adapter: train.adapter }
";

fn wide() -> Sandbox {
    let sandbox = Sandbox::new();
    write_wide_model(&sandbox.path("model"));
    write_questions(&sandbox.path("faq.jsonl"), 24);
    sandbox.write("pipeline.yaml", WIDE);
    sandbox
}

const RUN: [&str; 5] = ["run", "--json", "--device", "cpu", "--force=train"];

/// Runs with so much address space for each process.
fn run_within(sandbox: &Sandbox, mebibytes: u64, more: &[&str]) -> Outcome {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {}; exec \"$0\" \"$@\"", mebibytes << 10);
    command.args(["-c", &script]).arg(binary()).args(RUN).args(more).current_dir(sandbox.path(""));
    command.env("HOME", sandbox.path("home"));
    Outcome::of(command)
}

/// Runs in a control group with so much memory, where the kernel kills what wants more.
fn run_in_group(sandbox: &Sandbox, mebibytes: u64) -> Result<Outcome, String> {
    let group = MemoryGroup::make(mebibytes)?;
    let mut command = group.command(&binary());
    command.args(RUN).current_dir(sandbox.path("")).env("HOME", sandbox.path("home"));
    Ok(Outcome::of(command))
}

fn losses(sandbox: &Sandbox) -> Vec<f64> {
    let history = fs_err::read_to_string(sandbox.path("out/history/history.jsonl")).unwrap();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap();
    history.lines().map(row).collect()
}

/// Runs with less and less memory until a training goes on with fewer rows at a time. It says so, and learns the same.
fn goes_on_with_fewer_rows(run: impl Fn(&Sandbox, u64) -> Result<Outcome, String>) {
    let sandbox = wide();
    sandbox.refit(["run", "--json", "--device", "cpu"]).expect_code(0);
    let expected = losses(&sandbox);
    for mebibytes in (512..=2304).rev().step_by(192) {
        let outcome = match run(&sandbox, mebibytes) {
            Ok(outcome) => outcome,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
        };
        let Ok(report) = serde_json::from_str::<Value>(&outcome.stdout) else { break };
        let train = report["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "train").unwrap().clone();
        match (outcome.code, train["facts"]["train.rows_at_once"].as_u64()) {
            (Some(0), None) => {}
            (Some(0), Some(at_once)) => {
                assert!(at_once < 8 && train["facts"]["shortages"].as_u64() >= Some(1), "{train}");
                let said = |warning: &Value| warning.as_str().unwrap().contains("memory ran out");
                assert!(train["warnings"].as_array().unwrap().iter().any(said), "{train}");
                assert!(outcome.stderr.contains("memory ran out"), "{}", outcome.stderr);
                let found = losses(&sandbox);
                assert_eq!(found.len(), expected.len());
                for (loss, expected) in found.iter().zip(&expected) {
                    assert!((loss - expected).abs() < 1e-4 * expected, "{loss} {expected}");
                }
                return;
            }
            _ => panic!("with {mebibytes} MiB: {train}"),
        }
    }
    panic!("no room was too small");
}

#[test]
fn a_training_that_cannot_allocate_goes_on_with_fewer_rows_at_a_time() {
    goes_on_with_fewer_rows(|sandbox, mebibytes| Ok(run_within(sandbox, mebibytes, &[])));
}

#[test]
fn a_training_that_the_kernel_kills_for_its_memory_goes_on_with_fewer_rows_at_a_time() {
    goes_on_with_fewer_rows(run_in_group);
}

/// Ends a process for want of memory in a group of its own, beside whatever runs.
fn lack_memory_elsewhere() -> Result<(), String> {
    let group = MemoryGroup::make(32)?;
    // It keeps everything until the end, which does not come.
    let ended = group.command(Path::new("tail")).arg("/dev/zero").output().unwrap();
    assert!(!ended.status.success(), "{ended:?}");
    Ok(())
}

/// A second worker would come to the end of its training.
#[test]
fn a_worker_that_somebody_kills_while_memory_is_short_elsewhere_did_not_lack_any() {
    let sandbox = wide();
    sandbox.refit(["run", "--json", "--device", "cpu", "--to", "tokens"]).expect_code(0);
    let mut engine = sandbox.spawn(RUN.iter().chain(&["-S", "stages.train.with.max_steps=24"]));
    let workers = wait_for_worker(&mut engine);
    let short = lack_memory_elsewhere();
    workers.into_iter().for_each(kill);
    let ended = engine.wait().unwrap();
    match short {
        Ok(()) => assert_eq!(ended.code(), Some(3)),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

#[test]
fn a_training_that_cannot_do_with_fewer_rows_ends_with_ways_out_one_of_which_goes_on() {
    let sandbox = wide();
    let questions = fs_err::read_to_string(sandbox.path("faq.jsonl")).unwrap();
    let long = |line: &str| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["output"] = row["output"].as_str().unwrap().repeat(15).into();
        format!("{row}\n")
    };
    sandbox.write("faq.jsonl", questions.lines().take(4).map(long).collect::<String>());
    sandbox.refit(["run", "--json", "--device", "cpu", "--to", "tokens"]).expect_code(0);
    let alone = "stages.train.with.batch_size=1";
    for mebibytes in (512..=2304).rev().step_by(192) {
        let outcome = run_within(&sandbox, mebibytes, &["-S", alone]);
        if outcome.code == Some(0) {
            continue;
        }
        let error = &outcome.stage("train")["error"];
        assert_eq!(error["code"], "train::out_of_memory", "{error}");
        assert!(error["help"].as_str().unwrap().contains("gradient_checkpointing"), "{error}");
        let saving = "stages.train.with.gradient_checkpointing=true";
        run_within(&sandbox, mebibytes, &["-S", alone, "-S", saving]).expect_code(0);
        return;
    }
    panic!("no room was too small");
}

#[test]
fn what_trainings_need_is_told_before_anything_ran() {
    let sandbox = wide();
    let estimate = |outcome: &Outcome| outcome.stage("train")["memory"].clone();
    let before = estimate(&sandbox.refit(["plan", "--memory", "--device=cpu", "--json"]).expect_code(0));
    assert_eq!(before["at_most"], true);
    let saving = "stages.train.with.gradient_checkpointing=true";
    let run = |more: &[&str]| {
        let arguments = ["run", "--json", "--device", "cpu", "--force=train"];
        sandbox.refit(arguments.iter().chain(more)).expect_code(0).stage("train")["peak_memory"].as_f64().unwrap()
    };
    let plain = run(&[]);
    let planned = |more: &[&str]| {
        let arguments = ["plan", "--memory", "--device=cpu", "--json", "--force=train"];
        let found = estimate(&sandbox.refit(arguments.iter().chain(more)).expect_code(0));
        assert_eq!(found["at_most"], false);
        found["bytes"].as_f64().unwrap()
    };
    let saved = run(&["-S", saving]);
    assert!(saved < 0.6 * plain, "{saved} {plain}");
    for (estimate, measured) in [(planned(&[]), plain), (planned(&["-S", saving]), saved)] {
        assert!((estimate / measured - 1.0).abs() < 0.15, "{estimate} {measured}");
    }
    assert!(before["bytes"].as_f64().unwrap() > plain, "{before}");
    let shown = sandbox.refit(["plan", "--memory", "--force=train"]).expect_code(0).stdout;
    assert!(shown.contains("peak memory"), "{shown}");
}

const ASKED: &str = "\
name: asked
sources: { faq: faq.jsonl, model: MODEL }
stages:
  clean:  { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: model, train: clean.records } }
  train:  { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { rank: 2, max_steps: 1, batch_size: 2 } }
  few:      { uses: evaluate, inputs: { model: model, records: clean.records }, with: { max_new_tokens: 24, batch_size: 8 } }
  many:     { uses: evaluate, inputs: { model: model, records: clean.records }, with: { max_new_tokens: 24 } }
  unpacked: { uses: evaluate, inputs: { model: model, records: clean.records }, with: { max_new_tokens: 24, quantization: unpack } }
  rounded:  { uses: evaluate, inputs: { model: model, records: clean.records }, with: { max_new_tokens: 24, quantization: unpack, precision: bf16 } }
  tuned:    { uses: evaluate, inputs: { model: model, adapter: train.adapter, records: clean.records }, with: { max_new_tokens: 24 } }
  scored:   { uses: evaluate, inputs: { records: many.predictions } }
";

/// Every evaluation is told before it runs, with the adapter still to be trained, and runs within 15 % of that.
fn evaluations_are_told(model: &str, prepare: impl FnOnce(&Sandbox), rows: usize) {
    let sandbox = Sandbox::new();
    prepare(&sandbox);
    write_questions(&sandbox.path("faq.jsonl"), rows);
    sandbox.write("pipeline.yaml", ASKED.replace("MODEL", model));
    let plan = || sandbox.refit(["plan", "--memory", "--device=cpu", "--json"]).expect_code(0);
    let unknown = plan().stage("few")["memory"]["unknown"].clone();
    assert!(unknown.as_str().is_some_and(|why| why.contains("once the rows are made")), "{unknown}");
    sandbox.refit(["run", "--json", "--to", "clean"]).expect_code(0);
    let planned = plan();
    let ran = sandbox.refit(["run", "--json", "--device", "cpu", "-j", "1"]).expect_code(0);
    for stage in ["few", "many", "unpacked", "rounded", "tuned"] {
        let told = planned.stage(stage)["memory"].clone();
        assert_eq!(told["at_most"], true, "answers may end before they are as long as they may be");
        let (told, measured) = (told["bytes"].as_f64().unwrap(), ran.stage(stage)["peak_memory"].as_f64().unwrap());
        eprintln!("{stage}: {:.0} MB told, {:.0} MB measured", told / 1e6, measured / 1e6);
        assert!((told / measured - 1.0).abs() < 0.15, "{stage}: {told} {measured}");
    }
}

#[test]
fn what_evaluations_need_is_told_before_they_ran() {
    evaluations_are_told("model", |sandbox| write_wide_model(&sandbox.path("model")), 24);
}

#[test]
fn what_evaluations_of_a_real_model_need_is_told_within_15_percent() {
    let Some(model) = std::env::var_os("REFIT_TEST_MODEL") else {
        eprintln!("skipped: REFIT_TEST_MODEL names no GGUF file of SmolLM2-135M");
        return;
    };
    evaluations_are_told(&model.to_string_lossy(), |_| {}, 48);
}

const HELPDESK: &str = "\
name: helpdesk
sources: { faq: faq.jsonl, model: MODEL }
stages:
  clean:  { uses: clean, inputs: { records: faq } }
  split:  { uses: split, inputs: { records: clean.records }, with: { test: 0, validation: 0.1 } }
  tokens: { uses: tokenize, inputs: { model: model, train: split.train, validation: split.validation } }
  plain:  { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 4, seed: 3 } }
  saving: { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 4, seed: 4, gradient_checkpointing: true } }
  rounded: { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 4, batch_size: 4, quantization: unpack, precision: bf16 } }
  full:   { uses: train-full, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 4 } }
";

#[test]
fn of_a_real_model_the_peak_is_told_within_15_percent() {
    let Some(model) = std::env::var_os("REFIT_TEST_MODEL") else {
        eprintln!("skipped: REFIT_TEST_MODEL names no GGUF file of SmolLM2-135M");
        return;
    };
    let sandbox = Sandbox::new();
    write_questions(&sandbox.path("faq.jsonl"), 200);
    sandbox.write("pipeline.yaml", HELPDESK.replace("MODEL", &model.to_string_lossy()));
    sandbox.refit(["run", "--json", "--to", "tokens"]).expect_code(0);
    let planned = sandbox.refit(["plan", "--memory", "--device=cpu", "--json"]).expect_code(0);
    let ran = sandbox.refit(["run", "--json", "--device", "cpu", "-j", "1"]).expect_code(0);
    for stage in ["plain", "saving", "rounded", "full"] {
        let estimate = planned.stage(stage)["memory"]["bytes"].as_f64().unwrap();
        let measured = ran.stage(stage)["peak_memory"].as_f64().unwrap();
        eprintln!("{stage}: {:.0} MB told, {:.0} MB measured", estimate / 1e6, measured / 1e6);
        assert!((estimate / measured - 1.0).abs() < 0.15, "{stage}: {estimate} {measured}");
    }
}
