use std::collections::HashMap;

use burn::tensor::Device;
use refit_checkpoint::{HostTensor, ModelConfig};

use super::is_fusing;
use crate::{
    LlmError, Model,
    adapter::{Adapter, LoraConfig},
    model::{Randomness, Row, WeightForm},
    random::{Purpose, stream, unit},
    train::{NamedRow, Weights, Workers, accumulate},
};

/// Loss and gradient on a GPU may differ from the CPU's by rounding and other orders of summation, not by more.
const TOLERANCE: f64 = 2e-2;

/// Computes loss and gradient of a tiny model, made of the same parts as `model`, on a device and on the CPU, and
/// compares them.
///
/// Drivers and compilers have computed wrong gradients without a word; such a device may not train that model.
///
/// # Errors
/// When the two disagree, with by how much; when the device fails.
pub fn self_check(device: &Device, model: &ModelConfig) -> Result<(), LlmError> {
    let model = model.in_small();
    let expected = gradient(&model, &Device::flex())?;
    let found = gradient(&model, device)?;
    let loss = (found.loss - expected.loss).abs() / expected.loss.abs();
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    let zeros = vec![0.0; expected.gradient.len()];
    let gradient = distance(&found.gradient, &expected.gradient) / distance(&expected.gradient, &zeros);
    // A comparison with NaN is false, so it has to be put this way round.
    if loss <= TOLERANCE && gradient <= TOLERANCE {
        return Ok(());
    }
    Err(LlmError::Miscomputes {
        reason: format!(
            "on a tiny `{}` model its loss is off by {:.1} % and its gradient by {:.1} % from the CPU's",
            model.family,
            loss * 100.0,
            gradient * 100.0
        ),
        fusing: is_fusing(),
    })
}

struct Computed {
    loss: f64,
    gradient: Vec<f32>,
}

fn gradient(model: &ModelConfig, device: &Device) -> Result<Computed, LlmError> {
    let model = random_model(model.clone(), WeightForm::default(), device)?;
    let mut adapter = Adapter::initial(tiny_adapter(), &model, 1)?;
    // With B at its initial zero, A would have no gradient to compare.
    let mut random = stream(2, Purpose::Init, u64::MAX);
    for value in &mut adapter.values {
        *value += (unit(&mut random) - 0.5) * 0.2;
    }
    let (ids, mask) = ([1, 5, 9, 3, 7, 2, 8], [0, 0, 0, 1, 1, 1, 1]);
    let rows = [
        NamedRow { row: Row { ids: &ids, mask: &mask }, index: 0, name: 0 },
        NamedRow { row: Row { ids: &ids[1..6], mask: &mask[1..6] }, index: 1, name: 1 },
    ];
    let mut gradient = vec![0.0; adapter.values.len()];
    let (weights, randomness) = (Weights::Every(1.0), Randomness::default());
    let passed = accumulate(&model, &adapter, &rows, weights, randomness, &mut Workers::new(1), &mut gradient)?;
    Ok(Computed { loss: passed.loss.mean(), gradient })
}

/// An adapter on every linear layer of the tiny model.
pub(crate) fn tiny_adapter() -> LoraConfig {
    LoraConfig { rank: 2, alpha: 4.0, ..LoraConfig::default() }
}

/// A model with random weights, the same on every device.
pub(super) fn random_model(config: ModelConfig, form: WeightForm, device: &Device) -> Result<Model, LlmError> {
    let shapes: HashMap<String, Vec<usize>> = config.tensors().collect();
    let mut place = 0;
    Model::build_as(config, device, form, |name| {
        place += 1;
        let mut random = stream(3, Purpose::Init, place);
        let shape = shapes[name].clone();
        let values = (0..shape.iter().product()).map(|_| (unit(&mut random) - 0.5) * 1.5).collect();
        Ok(HostTensor { shape, values })
    })
}

/// A Llama of two layers with random weights.
#[cfg(test)]
pub(crate) fn tiny_model(device: &Device) -> Result<Model, LlmError> {
    const TINY: &str = r#"{"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 20, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "_name_or_path": "self-check"}"#;
    random_model(ModelConfig::from_json(TINY)?, WeightForm::default(), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::families;

    #[test]
    fn the_cpu_passes_against_itself_with_the_parts_of_every_family() {
        for family in families() {
            let found = self_check(&Device::flex(), &family.config);
            assert!(found.is_ok(), "{}: {found:?}", family.name);
        }
    }
}
