//! The tiny models of `tests/reference/tiny.py` and what transformers and PEFT compute with them.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod families;

use std::collections::HashMap;

use half::f16;
use refit_checkpoint::{BlockFormat, HostTensor, ModelConfig, PackedTensor, StoredTensor};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    Device, Model,
    adapter::{Adapter, LoraConfig},
    model::{OwnedRows, WeightForm},
    train::{Schedule, TrainConfig},
};

pub(crate) use families::{FamilyReference, families, family_weight, numbers};

pub(crate) struct Reference {
    file: SafeTensors<'static>,
    pub(crate) config: ModelConfig,
}

/// Grouped-query attention, llama3 rotary scaling, untied head.
pub(crate) fn llama() -> Reference {
    let scaling = json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16});
    let own = json!({"model_type": "llama", "tie_word_embeddings": false, "rope_scaling": scaling});
    Reference::new(include_bytes!("../../tests/reference/tiny-llama.safetensors"), own)
}

/// Bias on q, k and v, tied head.
pub(crate) fn qwen2() -> Reference {
    let own = json!({"model_type": "qwen2", "tie_word_embeddings": true});
    Reference::new(include_bytes!("../../tests/reference/tiny-qwen2.safetensors"), own)
}

/// How the losses of eight steps were made: at a constant rate, the rows in their order.
pub(crate) fn eight_steps() -> TrainConfig {
    TrainConfig {
        max_steps: Some(8),
        learning_rate: 0.01,
        schedule: Schedule::Constant,
        shuffle: false,
        ..TrainConfig::default()
    }
}

impl Reference {
    /// `own` is what the configuration has beside the sizes that all have.
    fn new(bytes: &'static [u8], own: Value) -> Self {
        let mut config = json!({"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 24, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5, "rope_theta": 100.0});
        let entries = config.as_object_mut().unwrap();
        entries.extend(own.as_object().unwrap().clone());
        let config = ModelConfig::from_json(&config.to_string()).unwrap();
        Self { file: SafeTensors::deserialize(bytes).unwrap(), config }
    }

    pub(crate) fn model(&self) -> Model {
        self.model_as(WeightForm::default())
    }

    pub(crate) fn model_as(&self, form: WeightForm) -> Model {
        Model::build_as(self.config.clone(), &Device::flex(), form, |name| Ok(self.tensor(name))).unwrap()
    }

    /// A weight as a file would hold it.
    pub(crate) fn tensor(&self, name: &str) -> HostTensor {
        HostTensor { shape: self.file.tensor(name).unwrap().shape().to_vec(), values: self.values(name) }
    }

    pub(crate) fn lora() -> LoraConfig {
        LoraConfig { rank: 2, alpha: 6.0, ..LoraConfig::default() }
    }

    pub(crate) fn adapter(&self) -> Adapter {
        let mut adapter = Adapter::initial(Self::lora(), &self.model(), 0).unwrap();
        adapter.values = self.in_adapter_order("adapter");
        adapter
    }

    /// Tensors named after the adapter's, in the order of its values.
    pub(crate) fn in_adapter_order(&self, kind: &str) -> Vec<f32> {
        let adapter = Adapter::initial(Self::lora(), &self.model(), 0).unwrap();
        adapter.tensors.iter().flat_map(|tensor| self.values(&format!("{kind}.{}", tensor.name()))).collect()
    }

    pub(crate) fn rows(&self) -> OwnedRows {
        (0..3)
            .map(|row| {
                let ids = self.file.tensor(&format!("row.{row}.ids")).unwrap();
                let ids = ids.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
                (ids, self.file.tensor(&format!("row.{row}.mask")).unwrap().data().to_vec())
            })
            .collect()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let view = self.file.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// What transformers and PEFT computed with the tiny Llama: `tests/reference/methods.py`.
pub(crate) fn methods() -> Value {
    serde_json::from_str(include_str!("../../tests/reference/methods.json")).unwrap()
}

/// The losses of eight steps by a method, at a constant rate of 0.01 and in the order of the rows.
pub(crate) fn step_losses(method: &str) -> Vec<f64> {
    methods()[method]["steps"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
}

/// A matrix of numbers within about ±0.4 whose blocks have every bit set somewhere, whatever the format; `name` decides them.
pub(crate) fn blocks(format: BlockFormat, shape: [usize; 2], name: &str) -> PackedTensor {
    let count = format.bytes_of(shape[0] * shape[1]).unwrap();
    let mut bytes: Vec<u8> = numbers(name, count).map(|number| ((number + 1.0) * 500.0) as u32 as u8).collect();
    let half = |number: f32| f16::from_f32(number).to_le_bytes();
    // Where a block has its factors, and how large they have to be for its largest codes.
    let factors: Vec<(usize, [u8; 2])> = match format {
        BlockFormat::Q4_0 => vec![(0, half(0.4 / 8.0))],
        BlockFormat::Q4_1 => vec![(0, half(0.4 / 8.0)), (2, half(-0.4))],
        BlockFormat::Q5_0 => vec![(0, half(0.4 / 16.0))],
        BlockFormat::Q5_1 => vec![(0, half(0.4 / 16.0)), (2, half(-0.4))],
        BlockFormat::Q8_0 => vec![(0, half(0.4 / 128.0))],
        BlockFormat::Q4K => vec![(0, half(0.4 / 8.0 / 63.0)), (2, half(0.4 / 63.0))],
        BlockFormat::Q5K => vec![(0, half(0.4 / 16.0 / 63.0)), (2, half(0.4 / 63.0))],
        BlockFormat::Q6K => vec![(208, half(0.4 / 32.0 / 128.0))],
        // The upper half of an f32.
        BlockFormat::Nf4 => vec![(2, ((0.4f32.to_bits() >> 16) as u16).to_le_bytes())],
    };
    for block in bytes.chunks_exact_mut(format.bytes()) {
        for (at, factor) in &factors {
            block[*at..at + 2].copy_from_slice(factor);
        }
    }
    PackedTensor { format, shape, bytes }
}

/// A Llama of two layers whose every matrix is in blocks of one format.
pub(crate) fn in_blocks(format: BlockFormat, form: WeightForm, device: &Device) -> Model {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 256, "vocab_size": 24, "max_position_embeddings": 64,
            "tie_word_embeddings": true}"#,
    )
    .unwrap();
    let shapes: HashMap<String, Vec<usize>> = config.tensors().collect();
    Model::build_as(config, device, form, |name| {
        Ok(match *shapes[name] {
            [rows, columns] => StoredTensor::from(blocks(format, [rows, columns], name)),
            ref shape => HostTensor { shape: shape.to_vec(), values: numbers(name, shape[0]).collect() }.into(),
        })
    })
    .unwrap()
}

/// Rows with a common beginning, of several lengths, with targets that can be learnt.
pub(crate) fn learnable_rows(count: u32) -> OwnedRows {
    (0..count)
        .map(|row| {
            let length = 5 + row % 6;
            let ids = (0..length).map(|i| if i < 2 { i + 1 } else { (row * 5 + i * 3) % 20 + 3 }).collect();
            (ids, (0..length).map(|i| u8::from(i >= 3)).collect())
        })
        .collect()
}
