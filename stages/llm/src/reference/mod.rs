//! The tiny models of `tests/reference/tiny.py` and what transformers and PEFT compute with them.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

mod families;

use refit_checkpoint::{HostTensor, ModelConfig};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    Device, Model,
    adapter::{Adapter, LoraConfig},
    model::{OwnedRows, WeightForm},
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
