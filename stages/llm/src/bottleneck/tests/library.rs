//! Beside the `adapters` library: `tests/reference/bottleneck.py`.

use std::ops::ControlFlow;

use serde_json::Value;

use super::{BottleneckConfig, adapter, gradient, model, norm};
use crate::{
    Model,
    model::{Row, Rows},
    reference,
    train::{GradientBy, TrainSettings, accumulate, composed_gradient, train},
};

fn cases() -> Vec<(String, Value)> {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/reference/bottleneck.json")).unwrap();
    cases.as_object().unwrap().iter().map(|(name, case)| (name.clone(), case.clone())).collect()
}

/// The model of a case, and its settings.
fn of_case(name: &str, case: &Value) -> (Model, BottleneckConfig) {
    let model = model(name.split(' ').next().unwrap());
    let config = BottleneckConfig::from_json(&case["config"].to_string()).map_err(|_| "refused");
    (model, config.unwrap())
}

/// Norm and product with sin(1), sin(2), …, as the script has them.
fn assert_summary(found: &[f32], expected: &Value, what: &str) {
    let [size, along] = [0, 1].map(|at| expected[at].as_f64().unwrap());
    let found_along: f64 =
        found.iter().enumerate().map(|(at, value)| f64::from(*value) * (at as f64 + 1.0).sin()).sum();
    let off = (norm(found.iter().copied()) - size).abs().max((found_along - along).abs());
    assert!(off < 1e-4 * size, "{what}: off by {off} of {size}");
}

fn logits(model: &Model, row: Row<'_>) -> Vec<f32> {
    model.logits(row).unwrap().concat()
}

#[test]
fn logits_losses_and_gradients_are_those_of_the_library() {
    let rows = reference::llama().rows();
    for (name, case) in cases() {
        let (base, config) = of_case(&name, &case);
        let adapter = adapter(config, base.config());
        let tuned = base.with(&adapter).unwrap();
        let found: Vec<f32> = (0..rows.len()).flat_map(|row| logits(&tuned, rows.row(row))).collect();
        assert_summary(&found, &case["logits"], &format!("{name} logits"));
        for (row, found) in tuned.row_losses(&rows, |_| {}).unwrap().iter().enumerate() {
            let expected = case["rows"][row].as_f64().unwrap();
            assert!((found.loss - expected).abs() < 1e-5 * expected, "{name} row {row}: {} {expected}", found.loss);
        }
        assert_eq!(adapter.tensors.len(), case["gradients"].as_object().unwrap().len(), "{name}");
        for (path, by) in [("fused", accumulate as GradientBy), ("burn", composed_gradient)] {
            let (loss, found) = gradient(by, &base, &adapter, &rows, 0.0, 2);
            let expected = case["steps"][0].as_f64().unwrap();
            assert!((loss - expected).abs() < 1e-5 * expected, "{name} {path}: {loss} {expected}");
            for tensor in &adapter.tensors {
                let what = format!("{name} {path} {}", tensor.name);
                assert_summary(&found[tensor.range()], &case["gradients"][&tensor.name], &what);
            }
        }
    }
}

#[test]
fn training_follows_the_library_step_by_step() {
    let rows = reference::llama().rows();
    let config = reference::eight_steps();
    let settings = TrainSettings { threads: 1, ..TrainSettings::default() };
    for (name, case) in cases() {
        let (model, bottleneck) = of_case(&name, &case);
        let adapter = adapter(bottleneck, model.config());
        let trained =
            train(&model, adapter, &rows, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
        for (row, expected) in trained.history.iter().zip(case["steps"].as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            assert!(
                (row.loss - expected).abs() < 1e-3 * expected,
                "{name}, step {}: {} {expected}",
                row.step,
                row.loss
            );
        }
    }
}

#[test]
fn settings_are_written_as_the_library_writes_them() {
    for (name, case) in cases() {
        let (model, config) = of_case(&name, &case);
        let written: Value = serde_json::from_str(&config.to_json(model.config())).unwrap();
        assert_eq!(written, case["config"], "{name}");
    }
    let (model, config) = of_case("llama", &cases()[0].1);
    let text = config.to_json(model.config());
    assert!(
        text.starts_with("{\n  \"config\": {\n    \"adapter_residual_before_ln\": false,\n    \"cross_adapter\""),
        "{text}"
    );
    assert!(text.ends_with("  },\n  \"hidden_size\": 16,\n  \"model_class\": \"LlamaForCausalLM\",\n  \"model_name\": \"\",\n  \"model_type\": \"llama\",\n  \"name\": \"refit\",\n  \"version\": \"adapters.1.3.0\"\n}"), "{text}");
}
