//! Trainings on adapters of wgpu; the software driver stands in for a GPU where there is none.

use refit_tests::{Sandbox, write_questions, write_tiny_model, write_wide_model};
use serde_json::Value;

const TRAIN: &str = "\
name: devices
sources: { faq: faq.jsonl, model: model }
stages:
  clean:  { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: model, train: clean.records } }
  train:
    uses: train-lora
    inputs: { model: model, tokens: tokens.tokens }
    with: { rank: 2, target_modules: [q_proj], max_steps: 3, batch_size: 2, gradient_accumulation: 2, seed: 3 }
outputs: { out/history: train.history }
";

/// None where wgpu has no adapter.
fn sandbox() -> Option<Sandbox> {
    let sandbox = Sandbox::new();
    let found = sandbox.refit(["doctor", "--json"]).expect_code(0).json();
    if found["devices"][1]["found"].is_null() {
        eprintln!("skipped: no adapter for wgpu on this machine ({})", found["devices"][1]["problem"]);
        return None;
    }
    write_tiny_model(&sandbox.path("model"));
    write_questions(&sandbox.path("faq.jsonl"), 8);
    sandbox.write("pipeline.yaml", TRAIN);
    Some(sandbox)
}

/// Runs the training, and tells what is known of it and the loss of each step.
fn train(sandbox: &Sandbox, arguments: &[&str]) -> (Value, Vec<f64>) {
    let outcome = sandbox.refit([&["run", "--json", "--force=train"], arguments].concat()).expect_code(0);
    let history = fs_err::read_to_string(sandbox.path("out/history/history.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap();
    (outcome.stage("train"), history.lines().map(loss).collect())
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * expected, "{found} {expected}");
    }
}

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled and tried out"]
fn several_devices_share_a_training() {
    let Some(sandbox) = sandbox() else { return };
    let (_, expected) = train(&sandbox, &["--device", "cpu"]);
    // The best adapter and the first one are two devices, if there is but one adapter without a place of its own.
    let (stage, losses) = train(&sandbox, &["--device", "wgpu,wgpu:0"]);
    assert_close(&losses, &expected);
    assert_eq!(stage["facts"]["train.devices"], 2, "{stage}");
    assert_eq!(stage["facts"]["train.parts_per_step"], 2.0, "{stage}");
    assert_eq!(stage["facts"]["device"].as_str().unwrap().matches(" + ").count(), 1, "{stage}");
}

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled and tried out"]
fn operations_can_have_a_kernel_each() {
    let Some(sandbox) = sandbox() else { return };
    let (_, expected) = train(&sandbox, &["--device", "cpu"]);
    let (stage, losses) = train(&sandbox, &["--device", "wgpu", "--no-fusion"]);
    assert_close(&losses, &expected);
    assert_eq!(stage["facts"]["device.fusion"], false, "{stage}");
}

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled and tried out"]
fn a_second_training_on_wgpu_tries_no_kernels() {
    let Some(sandbox) = sandbox() else { return };
    let kernels = |stage: &Value| {
        ["device.kernels_remembered", "device.kernels_tried"].map(|fact| stage["facts"][fact].as_u64().unwrap())
    };
    let (stage, expected) = train(&sandbox, &["--device", "wgpu"]);
    let [remembered, tried] = kernels(&stage);
    assert!(remembered == 0 && tried > 0, "{stage}");
    let (stage, losses) = train(&sandbox, &["--device", "wgpu"]);
    assert_eq!(kernels(&stage), [tried, 0], "{stage}");
    assert_close(&losses, &expected);
    sandbox.refit(["cache", "verify"]).expect_code(0);
    sandbox.refit(["cache", "gc", "--keep-runs", "1"]).expect_code(0);
    let files: Vec<_> =
        fs_err::read_dir(sandbox.path(".refit/kernels")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
}

const FORESEEN: &str = "\
name: foreseen
sources: { faq: faq.jsonl, model: MODEL }
stages:
  clean:  { uses: clean, inputs: { records: faq } }
  tokens: { uses: tokenize, inputs: { model: model, train: clean.records } }
  plain:    { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 8 } }
  saving:   { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 8, seed: 4, gradient_checkpointing: true } }
  rounded:  { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 8, precision: bf16 } }
  dropping: { uses: train-lora, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 8, dropout: 0.1 } }
  full:     { uses: train-full, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 4 } }
  added:    { uses: train-adapter, inputs: { model: model, tokens: tokens.tokens }, with: { max_steps: 2, batch_size: 8 } }
";

/// Each of these trainings takes as much of a GPU's memory as was told before it ran.
fn what_trainings_take_of_a_gpu_is_told(model: &str, trainings: &[&str]) {
    let Some(sandbox) = sandbox() else { return };
    write_wide_model(&sandbox.path("model"));
    write_questions(&sandbox.path("faq.jsonl"), 24);
    sandbox.write("pipeline.yaml", FORESEEN.replace("MODEL", model));
    sandbox.refit(["run", "--json", "--to", "tokens"]).expect_code(0);
    let planned = sandbox.refit(["plan", "--memory", "--device=wgpu", "--json"]).expect_code(0);
    for training in trainings {
        let told = planned.stage(training)["memory"].clone();
        assert_eq!(told["place"], "gpu", "{told}");
        let ran = sandbox.refit(["run", "--json", "--device", "wgpu", "--to", training]).expect_code(0);
        let (told, held) =
            (told["bytes"].as_f64().unwrap(), ran.stage(training)["facts"]["device.memory"].as_f64().unwrap());
        eprintln!("{training}: {:.0} MB told, {:.0} MB held", told / 1e6, held / 1e6);
        assert!((told / held - 1.0).abs() < 0.15, "{training}: {told} {held}");
    }
}

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled and tried out"]
fn what_a_gpu_needs_is_told_before_it_is_used() {
    what_trainings_take_of_a_gpu_is_told("model", &["plain", "saving", "rounded", "dropping", "full", "added"]);
}

#[test]
#[ignore = "a software driver takes minutes for each step of a real model"]
fn what_a_real_model_needs_of_a_gpu_is_told() {
    let Some(model) = std::env::var_os("REFIT_TEST_MODEL_HF") else {
        eprintln!("skipped: REFIT_TEST_MODEL_HF names no folder of SmolLM2-135M");
        return;
    };
    what_trainings_take_of_a_gpu_is_told(&model.to_string_lossy(), &["plain"]);
}
