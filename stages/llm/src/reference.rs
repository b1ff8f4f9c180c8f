//! The tiny models of `tests/reference/tiny.py` and what transformers and PEFT compute with them.

#![allow(clippy::unwrap_used, reason = "only tests use this")]

use refit_checkpoint::{Family, HostTensor, ModelConfig, RopeScaling};
use safetensors::SafeTensors;

use crate::{
    Device, Model,
    adapter::{Adapter, LoraConfig, TargetModules},
    model::{OwnedRows, WeightForm},
};

pub(crate) struct Reference {
    file: SafeTensors<'static>,
    pub(crate) config: ModelConfig,
}

/// Grouped-query attention, llama3 rotary scaling, untied head.
pub(crate) fn llama() -> Reference {
    let scaling =
        RopeScaling::Llama3 { factor: 4.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 16 };
    Reference::new(include_bytes!("../tests/reference/tiny-llama.safetensors"), Family::Llama, Some(scaling))
}

/// Bias on q, k and v, tied head.
pub(crate) fn qwen2() -> Reference {
    Reference::new(include_bytes!("../tests/reference/tiny-qwen2.safetensors"), Family::Qwen2, None)
}

impl Reference {
    fn new(bytes: &'static [u8], family: Family, rope_scaling: Option<RopeScaling>) -> Self {
        let config = ModelConfig {
            family,
            hidden_size: 16,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            intermediate_size: 24,
            vocab_size: 24,
            max_positions: 64,
            rms_eps: 1e-5,
            rope_theta: 100.0,
            rope_scaling,
            tied_head: family == Family::Qwen2,
            qkv_bias: family == Family::Qwen2,
            name: "tiny".into(),
            bos_id: None,
            eos_ids: vec![],
        };
        Self { file: SafeTensors::deserialize(bytes).unwrap(), config }
    }

    pub(crate) fn model(&self) -> Model {
        self.model_as(WeightForm::default())
    }

    pub(crate) fn model_as(&self, form: WeightForm) -> Model {
        Model::build_as(self.config.clone(), &Device::flex(), form, |name| {
            Ok(HostTensor { shape: self.file.tensor(name).unwrap().shape().to_vec(), values: self.values(name) })
        })
        .unwrap()
    }

    pub(crate) fn lora() -> LoraConfig {
        LoraConfig {
            rank: 2,
            alpha: 6.0,
            dropout: 0.0,
            rslora: false,
            target_modules: TargetModules::AllLinear,
            base_model: None,
        }
    }

    pub(crate) fn adapter(&self) -> Adapter {
        let mut adapter = Adapter::initial(Self::lora(), &self.config, 0).unwrap();
        adapter.values = self.in_adapter_order("adapter");
        adapter
    }

    /// Tensors named after the adapter's, in the order of its values.
    pub(crate) fn in_adapter_order(&self, kind: &str) -> Vec<f32> {
        let adapter = Adapter::initial(Self::lora(), &self.config, 0).unwrap();
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
