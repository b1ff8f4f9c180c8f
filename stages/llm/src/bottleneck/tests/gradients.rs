//! The two ways to compute, beside each other and beside finite differences.

use std::collections::HashMap;

use refit_checkpoint::{BlockFormat, HostTensor, ModelConfig};

use super::{
    super::{BottleneckConfig, BottleneckInput, BottleneckPlace, NonLinearity},
    BottleneckAdapter, KINDS, adapter, gradient, norm, small,
};
use crate::{
    Device, Model,
    generate::{GenerationOptions, Prompt, Sampling},
    model::{OwnedRows, Quantization, WeightForm},
    reference::{self, FamilyReference, families, learnable_rows},
    train::{GradientBy, Trainable, accumulate, composed_by_layers, composed_gradient},
};

fn models() -> Vec<(String, Model)> {
    let mut models =
        vec![("llama".to_owned(), reference::llama().model()), ("qwen2".into(), reference::qwen2().model())];
    models.extend(families().into_iter().map(|family| (family.name.clone(), family.model(&Device::flex()))));
    models.retain(|(_, model)| BottleneckAdapter::zeros(small(KINDS[0]), model.config()).is_ok());
    models
}

/// The kinds, and each input, activation and place once more.
fn configs() -> Vec<BottleneckConfig> {
    use BottleneckPlace::{Attention, FeedForward};
    let mut configs: Vec<BottleneckConfig> = KINDS.into_iter().map(small).collect();
    for (input, non_linearity, places) in [
        (BottleneckInput::Added, NonLinearity::Gelu, vec![FeedForward]),
        (BottleneckInput::Sum, NonLinearity::GeluNew, vec![Attention]),
        (BottleneckInput::Residual, NonLinearity::Tanh, vec![Attention, FeedForward]),
        (BottleneckInput::Sum, NonLinearity::LeakyRelu, vec![Attention, FeedForward]),
    ] {
        configs.push(BottleneckConfig { input, non_linearity, places, scaling: 1.5, ..small(KINDS[0]) });
    }
    configs
}

fn assert_same(what: &str, adapter: &BottleneckAdapter, found: &(f64, Vec<f32>), expected: &(f64, Vec<f32>)) {
    assert!((found.0 - expected.0).abs() < 1e-4 * expected.0, "{what}: {} {}", found.0, expected.0);
    for tensor in &adapter.tensors {
        let (found, expected) = (&found.1[tensor.range()], &expected.1[tensor.range()]);
        let off = norm(found.iter().zip(expected).map(|(a, b)| a - b));
        assert!(off < 1e-4 * norm(expected.iter().copied()) + 1e-7, "{what}, {}: off by {off}", tensor.name);
    }
}

#[test]
fn the_fused_pass_is_that_of_burn_operations_and_any_number_of_threads() {
    let rows = learnable_rows(9);
    for (name, model) in models() {
        for config in configs() {
            for (dropout, neftune_alpha) in [(0.0, 0.0), (0.3, 0.0), (0.0, 4.0)] {
                let what = format!("{name} {:?} {:?} {dropout} {neftune_alpha}", config.input, config.non_linearity);
                let adapter = adapter(BottleneckConfig { dropout, ..config.clone() }, model.config());
                let found = gradient(accumulate, &model, &adapter, &rows, neftune_alpha, 1);
                let expected = gradient(composed_gradient, &model, &adapter, &rows, neftune_alpha, 2);
                assert_same(&what, &adapter, &found, &expected);
                for threads in [2, 3] {
                    assert_eq!(found, gradient(accumulate, &model, &adapter, &rows, neftune_alpha, threads), "{what}");
                }
            }
        }
    }
}

#[test]
fn layers_left_out_have_no_gradient_work_and_change_nothing() {
    let rows = learnable_rows(7);
    for (name, model) in models() {
        for left_out in [0, model.config().layers - 1] {
            let config = BottleneckConfig { leave_out: vec![left_out], ..small(KINDS[0]) };
            let adapter = adapter(config, model.config());
            assert!(adapter.tensors.iter().all(|tensor| tensor.layer != left_out));
            let found = gradient(accumulate, &model, &adapter, &rows, 0.0, 2);
            for by in [composed_gradient as GradientBy, composed_by_layers] {
                let expected = gradient(by, &model, &adapter, &rows, 0.0, 2);
                assert_same(&format!("{name} without layer {left_out}"), &adapter, &found, &expected);
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let rows = learnable_rows(6);
    for (name, model) in models() {
        for config in configs().into_iter().chain(KINDS.map(|kind| BottleneckConfig { dropout: 0.3, ..small(kind) })) {
            let adapter = adapter(config, model.config());
            let (_, slope) = gradient(accumulate, &model, &adapter, &rows, 0.0, 1);
            let length = norm(slope.iter().copied());
            let at = |step: f64| {
                let moved = adapter.values.iter().zip(&slope);
                let moved = moved.map(|(value, slope)| value + (step * f64::from(*slope) / length) as f32).collect();
                gradient(accumulate, &model, &adapter.with_values(moved), &rows, 0.0, 1).0
            };
            let measured = (at(4e-3) - at(-4e-3)) / 8e-3;
            let what = format!("{name} {:?} {:?}", adapter.config.input, adapter.config.non_linearity);
            assert!((measured - length).abs() < 1e-2 * length, "{what}: {measured} {length}");
        }
    }
}

#[test]
fn batching_and_a_shared_beginning_change_no_loss() {
    let rows = learnable_rows(9);
    for (name, model) in models() {
        for kind in KINDS {
            let tuned = model.with(&adapter(small(kind), model.config())).unwrap();
            let together = tuned.row_losses(&rows, |_| {}).unwrap();
            for (row, together) in rows.iter().zip(together) {
                let alone = tuned.row_losses(&vec![row.clone()], |_| {}).unwrap().remove(0);
                assert!((together.loss - alone.loss).abs() < 1e-5 * alone.loss, "{name} {kind:?}");
            }
        }
    }
}

#[test]
fn answers_by_the_fused_pass_are_those_of_burn_operations() {
    let prompts: Vec<Prompt> = (0..).zip(FamilyReference::prompts()).map(|(name, ids)| Prompt { ids, name }).collect();
    let options = GenerationOptions {
        max_new_tokens: 12,
        stop: &[],
        stop_strings: None,
        batch_size: 4,
        sampling: Sampling::default(),
    };
    for (name, base) in models() {
        for kind in KINDS {
            let model = base.with(&adapter(small(kind), base.config())).unwrap();
            let composed = model.generate_composed(&prompts, options, |_| {}).unwrap().answers;
            assert_eq!(model.generate(&prompts, options, |_| {}).unwrap().answers, composed, "{name} {kind:?}");
            assert_ne!(base.generate(&prompts, options, |_| {}).unwrap().answers, composed, "{name} {kind:?}");
        }
    }
}

/// The tiny Llama with its linear layers in NF4.
fn quantized(quantization: Quantization) -> Model {
    let config = ModelConfig { hidden_size: 64, head_dim: 16, intermediate_size: 64, ..reference::llama().config };
    let shapes: HashMap<_, _> = config.tensors().collect();
    let form = WeightForm { tiles: true, quantization, ..WeightForm::default() };
    Model::build_as(config, &Device::flex(), form, |name| {
        let shape = shapes[name].clone();
        let norms = f32::from(u8::from(name.contains("norm")));
        let values: Vec<f32> =
            reference::numbers(name, shape.iter().product()).map(|number| number * 0.3 + norms).collect();
        // What a file in blocks unpacks to.
        let blocks = name.contains("proj").then(|| refit_blocks::quantize(BlockFormat::Nf4, &values).unwrap());
        let values = blocks.map_or(values, |bytes| BlockFormat::Nf4.decode(&bytes));
        Ok(HostTensor { shape, values })
    })
    .unwrap()
}

#[test]
fn a_quantised_base_gives_what_its_numbers_give() {
    let rows: OwnedRows = learnable_rows(7);
    let [packed, plain] = [Quantization::Nf4, Quantization::Unpack].map(quantized);
    assert!(!packed.weights_kept().formats.is_empty() && plain.weights_kept().formats.is_empty());
    for kind in KINDS {
        let adapter = adapter(small(kind), packed.config());
        let [found, expected] = [&packed, &plain].map(|model| gradient(accumulate, model, &adapter, &rows, 0.0, 2));
        assert_eq!(found, expected, "{kind:?}");
    }
}
