//! A base in blocks beside the same base unpacked.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use refit_blocks::quantize;
use refit_checkpoint::{BlockFormat, HostTensor, ModelConfig, PackedTensor, StoredTensor};

use crate::{
    Device, Model, Precision,
    adapter::{Adapter, TargetModules},
    model::{OwnedRows, Quantization, Randomness, SupervisedLoss, WeightForm},
    random::{Purpose, stream, unit},
    reference::{Reference, learnable_rows},
    train::{NamedRow, Weights, Workers, accumulate, composed_gradient},
};

const RANDOMNESS: Randomness = Randomness { seed: 0, dropout: 0.0, neftune_alpha: 0.0 };

/// A model whose every matrix is in blocks of this format.
fn quantized(format: BlockFormat, form: WeightForm) -> Model {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 192, "vocab_size": 24, "max_position_embeddings": 64,
            "tie_word_embeddings": true}"#,
    )
    .unwrap();
    let (vocabulary, hidden, wide) = (24, 128, 192);
    let mut place = 0;
    Model::build_as(config, &Device::flex(), form, |name| {
        place += 1;
        let shape = match name.rsplit('.').nth(1).unwrap() {
            "embed_tokens" => vec![vocabulary, hidden],
            "q_proj" | "o_proj" => vec![hidden, hidden],
            "k_proj" | "v_proj" => vec![hidden / 2, hidden],
            "gate_proj" | "up_proj" => vec![wide, hidden],
            "down_proj" => vec![hidden, wide],
            _ => vec![hidden],
        };
        let mut random = stream(3, Purpose::Init, place);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| (unit(&mut random) - 0.5) * 0.8).collect();
        Ok(match *shape {
            [rows, columns] => {
                let bytes = quantize(format, &values).unwrap();
                StoredTensor::Packed(PackedTensor { format, shape: [rows, columns], bytes })
            }
            _ => StoredTensor::Plain(HostTensor { shape, values }),
        })
    })
    .unwrap()
}

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
    for format in [BlockFormat::Q8_0, BlockFormat::Q4_0, BlockFormat::Nf4] {
        for precision in [Precision::F32, Precision::Bf16] {
            let model = |quantization| quantized(format, WeightForm { precision, tiles: true, quantization });
            let (packed, plain) = (model(Quantization::Keep), model(Quantization::Unpack));
            assert!(packed.weights_kept().bytes * 3 < plain.weights_kept().bytes);
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

#[test]
fn burn_operations_and_answers_see_the_same_numbers() {
    let rows = learnable_rows(5);
    let form = |quantization| WeightForm { quantization, ..WeightForm::default() };
    let [packed, plain] =
        [Quantization::Keep, Quantization::Unpack].map(|kept| quantized(BlockFormat::Q8_0, form(kept)));
    let composed = |model: &Model| {
        let adapter = adapter(model);
        let mut gradient = vec![0f32; adapter.values.len()];
        let loss = composed_gradient(
            model,
            &adapter,
            &NamedRow::all(&rows),
            Weights::Every(0.05),
            RANDOMNESS,
            &mut Workers::new(2),
            &mut gradient,
        );
        (loss.unwrap().loss, gradient)
    };
    assert_eq!(composed(&packed), composed(&plain));
    let losses = |model: &Model| model.row_losses(&rows, |_| {}).unwrap();
    assert_eq!(losses(&packed), losses(&plain));
    assert!(!packed.weights_kept().formats.is_empty() && plain.weights_kept().formats.is_empty());
}
