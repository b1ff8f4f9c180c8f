use refit_checkpoint::{HostTensor, ModelConfig};
use safetensors::SafeTensors;
use serde_json::Value;

use super::Reference;
use crate::{
    Device, Model,
    adapter::Adapter,
    model::OwnedRows,
    random::{Purpose, stream, unit},
};

/// A tiny model of a family of `tests/reference/families.py`, and what transformers and PEFT compute with it.
pub(crate) struct FamilyReference {
    pub(crate) name: String,
    pub(crate) config: ModelConfig,
}

/// One for each form that a family has.
pub(crate) fn families() -> Vec<FamilyReference> {
    let configs: Value = serde_json::from_str(include_str!("../../tests/reference/families.json")).unwrap();
    let configs = configs.as_object().unwrap().iter();
    let read = |(name, config): (&String, &Value)| FamilyReference {
        name: name.clone(),
        config: ModelConfig::from_json(&config.to_string()).unwrap(),
    };
    configs.map(read).collect()
}

impl FamilyReference {
    /// With the weights that the script gives it.
    pub(crate) fn model(&self, device: &Device) -> Model {
        let shapes: std::collections::HashMap<_, _> = self.config.tensors().collect();
        Model::build(self.config.clone(), device, |name| Ok(family_weight(&self.config, name, shapes[name].clone())))
            .unwrap()
    }

    /// With the values that the script gives it.
    pub(crate) fn adapter(model: &Model) -> Adapter {
        let mut adapter = Adapter::initial(Reference::lora(), model, 0).unwrap();
        for tensor in adapter.tensors.clone() {
            let range = tensor.range();
            for (value, number) in adapter.values[range.clone()].iter_mut().zip(numbers(&tensor.name(), range.len())) {
                *value = number * 0.25;
            }
        }
        adapter
    }

    /// Values of the file under the model's name.
    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(include_bytes!("../../tests/reference/families.safetensors")).unwrap();
        let view = file.tensor(&format!("{}.{name}", self.name)).unwrap();
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub(crate) fn rows() -> OwnedRows {
        super::llama().rows()
    }

    /// Prompts of several lengths that begin alike.
    pub(crate) fn prompts() -> Vec<Vec<u32>> {
        let mut random = stream(9, Purpose::Order, 0);
        let mut token = || (unit(&mut random) * 20.0) as u32;
        (0..7).map(|row| [1, 2, 3].into_iter().chain((0..=row % 5).map(|_| token())).collect()).collect()
    }
}

/// `weight` of the script.
pub(crate) fn family_weight(config: &ModelConfig, name: &str, shape: Vec<usize>) -> HostTensor {
    let (scale, shift) = match (name.contains("norm"), shape.len()) {
        (true, _) => (0.125, 1.0 - config.norm_offset),
        (false, 1) => (0.125, 0.0),
        (false, _) => (0.375, 0.0),
    };
    let values = numbers(name, shape.iter().product()).map(|value| value * scale + shift).collect();
    HostTensor { shape, values }
}

/// `numbers` of the script: in ±1, by a hash of the name.
pub(crate) fn numbers(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let seed = name.bytes().fold(2_166_136_261_u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(16_777_619));
    (0..count as u32).map(move |place| {
        let state = seed.wrapping_add(place.wrapping_mul(2_654_435_761));
        let state = (state ^ (state >> 15)).wrapping_mul(2_246_822_519);
        let state = (state ^ (state >> 13)).wrapping_mul(3_266_489_917);
        ((state >> 8) % 1001) as f32 / 500.0 - 1.0
    })
}
