//! Trainings on adapters of wgpu; the software driver stands in for a GPU where there is none.

use refit_tests::{Sandbox, write_questions, write_tiny_model};
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
