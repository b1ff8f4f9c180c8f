//! The fused pass with each kind of instructions that this processor has, beside burn operations and PEFT.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{ops::ControlFlow, sync::Arc};

use refit_checkpoint::BlockFormat;
use refit_kernels::Isa;

use super::{
    FusedWeights,
    tests::{adapter, computed, computed_full, models, norm},
};
use crate::{
    Device, Model, Precision,
    adapter::TargetModules,
    generate::{GenerationOptions, Prompt, Sampling},
    model::{Quantization, WeightForm},
    reference::{self, FamilyReference, in_blocks, learnable_rows, step_losses},
    train::{TrainSettings, Trainable, Trained, accumulate, composed_gradient, train},
    weights::{Selection, TrainedWeights},
};

/// Loss, and gradient in the order of the trained values.
type Computed = (f64, Vec<f32>);

/// Relative differences of loss and gradient: kinds of instructions add up in other orders, and not all fuse a product with
/// its sum.
const SAME_NUMBERS: f64 = 1e-4;
/// The same where activations are rounded to bf16's 8 digits: a last bit decides whether up or down.
const OTHER_ROUNDING: f64 = 3e-2;
/// Burn operations do not round activations, nor the numbers of blocks.
const ROUNDED_LOSS: f64 = 5e-3;

/// The model, computing with these instructions.
fn with(model: &Model, isa: Isa) -> Model {
    let model = Model { fused: Arc::default(), ..model.clone() };
    model.fused.set(FusedWeights::new(&model, isa).unwrap()).unwrap();
    model
}

/// The model with each kind of instructions, the portable ones first.
fn with_each(model: &Model) -> impl Iterator<Item = (Isa, Model)> {
    Isa::available().into_iter().map(|isa| (isa, with(model, isa)))
}

fn assert_near(found: &Computed, expected: &Computed, tolerance: f64, what: &str) {
    assert!((found.0 - expected.0).abs() < tolerance * expected.0, "{what}: {} instead of {}", found.0, expected.0);
    let off = norm(found.1.iter().zip(&expected.1).map(|(a, b)| a - b)) / norm(expected.1.iter().copied());
    // A comparison with NaN is false.
    assert!(off < tolerance, "{what}: the gradient is off by {off}");
}

#[test]
fn losses_and_gradients_are_those_of_burn_operations() {
    for (name, model) in models() {
        let (adapter, rows) = (adapter(&model, TargetModules::AllLinear), learnable_rows(7));
        let expected = computed(composed_gradient, &model, &adapter, &rows, 2);
        let all = TrainedWeights::of(&model, &Selection::All).unwrap();
        let expected_of_all = computed_full(composed_gradient, &model, &all, 2);
        for (isa, model) in with_each(&model) {
            let what = format!("{name}, {}", isa.name());
            let found = computed(accumulate, &model, &adapter, &rows, 1);
            assert_near(&found, &expected, SAME_NUMBERS, &what);
            assert_eq!(found, computed(accumulate, &model, &adapter, &rows, 2), "{what}, two threads");
            assert_near(&computed_full(accumulate, &model, &all, 1), &expected_of_all, SAME_NUMBERS, &what);
        }
    }
}

#[test]
fn weights_in_bf16_and_in_blocks_give_the_same_with_all_instructions() {
    let rows = learnable_rows(7);
    let form = |precision, quantization| WeightForm { precision, tiles: true, quantization, ..WeightForm::default() };
    let llama = reference::llama();
    let floats = llama.model_as(form(Precision::Bf16, Quantization::Unpack));
    // Each beside the same weights as floats, which are rounded where those are.
    let mut bases = vec![("llama".to_owned(), Precision::Bf16, floats.clone(), floats)];
    for format in BlockFormat::ALL {
        for precision in [Precision::F32, Precision::Bf16] {
            bases.push((
                format.to_string(),
                precision,
                in_blocks(format, form(precision, Quantization::Keep), &Device::flex()),
                in_blocks(format, form(precision, Quantization::Unpack), &Device::flex()),
            ));
        }
    }
    for (name, precision, model, floats) in bases {
        let adapter = adapter(&model, TargetModules::AllLinear);
        let composed = computed(composed_gradient, &model, &adapter, &rows, 1);
        let mut first = None;
        for (isa, model) in with_each(&model) {
            let what = format!("{name} in {precision:?}, {}", isa.name());
            let found = computed(accumulate, &model, &adapter, &rows, 2);
            match precision {
                Precision::F32 => assert_near(&found, &composed, SAME_NUMBERS, &what),
                Precision::Bf16 => {
                    let off = (found.0 - composed.0).abs();
                    assert!(off < ROUNDED_LOSS * composed.0, "{what}: {} instead of {}", found.0, composed.0);
                    if isa.multiplies_halves() {
                        // What the others round alike says nothing about it. Some of these models change by a tenth with any rounding, so it
                        // stands beside exact products with the same numbers; tests of the kernels compare its products of blocks and of floats.
                        let with_floats = computed(composed_gradient, &floats, &adapter, &rows, 1);
                        let found = computed(accumulate, &with(&floats, isa), &adapter, &rows, 2);
                        assert_near(&found, &with_floats, OTHER_ROUNDING, &what);
                    } else {
                        assert_near(&found, first.get_or_insert(found.clone()), OTHER_ROUNDING, &what);
                    }
                }
            }
        }
    }
}

/// Steps as those of [`step_losses`].
fn trained<T: Trainable + Clone>(model: &Model, start: T) -> Trained<T> {
    let config = reference::eight_steps();
    let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
    let rows = reference::llama().rows();
    train(model, start, &rows, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn training_follows_peft_and_transformers_step_by_step() {
    let llama = reference::llama();
    let weights = TrainedWeights::of(&llama.model(), &Selection::All).unwrap();
    for (isa, model) in with_each(&llama.model()) {
        for (method, history) in
            [("lora", trained(&model, llama.adapter()).history), ("full", trained(&model, weights.clone()).history)]
        {
            let expected = step_losses(method);
            assert_eq!(history.len(), expected.len());
            for (row, expected) in history.iter().zip(&expected) {
                let off = (row.loss - expected).abs();
                assert!(off < 1e-3 * expected, "{method}, {}, step {}: {} {expected}", isa.name(), row.step, row.loss);
            }
        }
    }
}

#[test]
fn answers_are_those_of_burn_operations() {
    let drawn = Sampling { temperature: 1.3, top_k: Some(12), top_p: 0.9, seed: 5, ..Sampling::default() };
    for family in reference::families() {
        let model = family.model(&Device::flex());
        let ids = FamilyReference::prompts();
        let prompts: Vec<Prompt> = (0..).zip(ids).map(|(name, ids)| Prompt { ids, name }).collect();
        for sampling in [Sampling::default(), drawn] {
            let options =
                GenerationOptions { max_new_tokens: 9, stop: &[4], stop_strings: None, batch_size: 3, sampling };
            let expected = model.generate_composed(&prompts, options, |_| {}).unwrap().answers;
            for (isa, model) in with_each(&model) {
                let found = model.generate(&prompts, options, |_| {}).unwrap().answers;
                assert_eq!(found, expected, "{}, {}", family.name, isa.name());
            }
        }
    }
}
