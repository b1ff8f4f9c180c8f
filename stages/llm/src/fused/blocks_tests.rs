//! A base in blocks beside the same base unpacked.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use refit_checkpoint::BlockFormat;

use crate::{
    Device, Model, Precision,
    adapter::{Adapter, TargetModules},
    model::{OwnedRows, Quantization, Randomness, SupervisedLoss, WeightForm},
    random::{Purpose, stream, unit},
    reference::{Reference, in_blocks, learnable_rows},
    train::{NamedRow, Weights, Workers, accumulate, composed_gradient},
};

const RANDOMNESS: Randomness = Randomness { seed: 0, dropout: 0.0, neftune_alpha: 0.0 };

fn adapter(model: &Model) -> Adapter {
    let config = crate::adapter::LoraConfig { target_modules: TargetModules::AllLinear, ..Reference::lora() };
    let mut adapter = Adapter::initial(config, model, 1).unwrap();
    let mut random = stream(2, Purpose::Init, u64::MAX);
    adapter.values.iter_mut().for_each(|value| *value += (unit(&mut random) - 0.5) * 0.2);
    adapter
}

fn gradient(model: &Model, rows: &OwnedRows) -> (SupervisedLoss, Vec<f32>) {
    let adapter = adapter(model);
    let mut gradient = vec![0f32; adapter.values.len()];
    let loss = accumulate(
        model,
        &adapter,
        &NamedRow::all(rows),
        Weights::Every(0.05),
        RANDOMNESS,
        &mut Workers::new(2),
        &mut gradient,
    )
    .unwrap();
    (loss.loss, gradient)
}

#[test]
fn losses_and_gradients_are_those_of_the_unpacked_numbers_bit_for_bit() {
    let rows = learnable_rows(7);
    for format in BlockFormat::ALL {
        let in_form = |precision, quantization| {
            in_blocks(format, WeightForm { precision, tiles: true, quantization, planes: false }, &Device::flex())
        };
        let floats = in_form(Precision::F32, Quantization::Unpack);
        for precision in [Precision::F32, Precision::Bf16] {
            let model = |quantization| in_form(precision, quantization);
            let (packed, plain) = (model(Quantization::Keep), model(Quantization::Unpack));
            assert!(packed.weights_kept().bytes < plain.weights_kept().bytes);
            // Of bf16 that is kept once it is half.
            assert!(packed.weights_kept().bytes * 3 < floats.weights_kept().bytes);
            let (found, expected) = (gradient(&packed, &rows), gradient(&plain, &rows));
            if precision == Precision::F32 {
                assert_eq!(found, expected, "{format}");
                continue;
            }
            // The embedding's rows are rounded in tiles of bf16, and not in blocks.
            let (found, expected) = (found.0.mean(), expected.0.mean());
            assert!((found - expected).abs() < 5e-3 * expected, "{format}: {found} {expected}");
        }
    }
}

/// Loss and gradient by burn operations.
fn composed(model: &Model, rows: &OwnedRows, workers: Workers) -> (SupervisedLoss, Vec<f32>) {
    let adapter = adapter(model);
    let mut gradient = vec![0f32; adapter.values.len()];
    let mut workers = workers;
    let (rows, weights) = (NamedRow::all(rows), Weights::Every(0.05));
    let passed = composed_gradient(model, &adapter, &rows, weights, RANDOMNESS, &mut workers, &mut gradient).unwrap();
    (passed.loss, gradient)
}

#[test]
fn burn_operations_and_answers_see_the_same_numbers() {
    let rows = learnable_rows(5);
    for format in BlockFormat::ALL {
        let form = |quantization, planes| WeightForm { quantization, planes, ..WeightForm::default() };
        let plain = in_blocks(format, form(Quantization::Unpack, false), &Device::flex());
        assert!(plain.weights_kept().formats.is_empty());
        // Blocks are unpacked again on the way back.
        let expected = composed(&plain, &rows, Workers::new(2).with_checkpointing(true));
        let losses = |model: &Model| model.row_losses(&rows, |_| {}).unwrap();
        for planes in [false, true] {
            let packed = in_blocks(format, form(Quantization::Keep, planes), &Device::flex());
            assert!(packed.weights_kept().bytes * 3 < plain.weights_kept().bytes);
            assert_eq!(composed(&packed, &rows, Workers::new(2)), expected, "{format}, planes: {planes}");
            assert_eq!(losses(&packed), losses(&plain));
        }
        // What is tracked is computed by other operations here and there, so that its last bits are others.
        let at_once = composed(&plain, &rows, Workers::new(2));
        let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let off: Vec<f32> = at_once.1.iter().zip(&expected.1).map(|(once, again)| once - again).collect();
        assert!((at_once.0.sum - expected.0.sum).abs() < 1e-6 * expected.0.sum);
        assert!(length(&off) < 1e-5 * length(&expected.1), "{format}");
    }
}
