use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_checkpoint::{Checkpoint, HostTensor, ModelConfig};
use refit_kernels::{Isa, Precision};

use super::{LinearModule, LoraWeights, decoder::DecoderLayer, linear::Linear, norm::RmsNorm, rope::Rope};
use crate::{LlmError, adapter::Adapter, fused::FusedWeights};

/// A decoder with its frozen weights on a device, and an adapter if one is applied.
///
/// Cloning is cheap: tensors are shared.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) device: Device,
    /// `[vocabulary, hidden]`.
    pub(crate) embedding: Tensor<2>,
    pub(crate) layers: Vec<DecoderLayer>,
    pub(crate) norm: RmsNorm,
    /// `[vocabulary, hidden]`; the embedding itself if tied.
    pub(crate) head: Tensor<2>,
    pub(crate) rope: Rope,
    pub(crate) lora: LoraWeights,
    /// The frozen weights for the fused pass, once that was asked for.
    pub(crate) fused: Arc<OnceLock<FusedWeights>>,
}

impl Model {
    /// Reads all weights of a checkpoint onto a device, as f32.
    ///
    /// # Errors
    /// A missing, unreadable or wrongly shaped tensor. The checkpoint refuses NaN and infinity itself.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Self, LlmError> {
        Self::build(checkpoint.config().clone(), device, |name| Ok(checkpoint.tensor(name)?))
    }

    /// Builds a model from tensors by their Hugging Face names, `[out, in]` as the files hold them.
    pub fn build(
        config: ModelConfig,
        device: &Device,
        mut tensor: impl FnMut(&str) -> Result<HostTensor, LlmError>,
    ) -> Result<Self, LlmError> {
        let (hidden, eps) = (config.hidden_size, config.rms_eps);
        let mut read = |name: &str, expected: &[usize]| -> Result<TensorData, LlmError> {
            let host = tensor(name)?;
            if host.shape != expected {
                return Err(LlmError::WeightShape { name: name.into(), found: host.shape, expected: expected.into() });
            }
            Ok(TensorData::new(host.values, host.shape))
        };
        let embedding = Tensor::from_data(read("model.embed_tokens.weight", &[config.vocab_size, hidden])?, device);
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let mut linear = |module: LinearModule, bias: bool| -> Result<Linear, LlmError> {
                let (path, [out, width]) = (module.path(index), linear_shape(&config, module));
                let weight = Tensor::from_data(read(&format!("{path}.weight"), &[out, width])?, device);
                let bias =
                    if bias { Some(Tensor::from_data(read(&format!("{path}.bias"), &[out])?, device)) } else { None };
                Ok(Linear::new(weight, bias))
            };
            let [query, key, value] = [LinearModule::Query, LinearModule::Key, LinearModule::Value]
                .map(|module| linear(module, config.qkv_bias));
            let [output, gate, up, down] =
                [LinearModule::Output, LinearModule::Gate, LinearModule::Up, LinearModule::Down]
                    .map(|module| linear(module, false));
            let mut norm = |name: &str| -> Result<RmsNorm, LlmError> {
                let weight = read(&format!("model.layers.{index}.{name}.weight"), &[hidden])?;
                Ok(RmsNorm::new(Tensor::from_data(weight, device), eps))
            };
            layers.push(DecoderLayer {
                attention_norm: norm("input_layernorm")?,
                query: query?,
                key: key?,
                value: value?,
                output: output?,
                feed_forward_norm: norm("post_attention_layernorm")?,
                gate: gate?,
                up: up?,
                down: down?,
                head_dim: config.head_dim,
            });
        }
        let norm = RmsNorm::new(Tensor::from_data(read("model.norm.weight", &[hidden])?, device), eps);
        let head = if config.tied_head {
            Tensor::clone(&embedding)
        } else {
            Tensor::from_data(read("lm_head.weight", &[config.vocab_size, hidden])?, device)
        };
        Ok(Self {
            rope: Rope::new(&config, device),
            lora: LoraWeights::none(config.layers),
            device: device.clone(),
            config,
            embedding,
            layers,
            norm,
            head,
            fused: Arc::default(),
        })
    }

    /// The same model with an adapter applied on its activations; the base stays as it is.
    ///
    /// # Errors
    /// When the adapter's shapes are not this model's.
    pub fn with_adapter(&self, adapter: &Adapter) -> Result<Self, LlmError> {
        adapter.check(&self.config)?;
        Ok(Self { lora: adapter.on_device(&self.config, &self.device), ..self.clone() })
    }

    /// Sizes and constants of the architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The frozen weights as the fused pass takes them; made the first time.
    pub(crate) fn fused(&self) -> Result<&FusedWeights, LlmError> {
        if let Some(weights) = self.fused.get() {
            return Ok(weights);
        }
        let weights = FusedWeights::new(self, Isa::best(), Precision::F32)?;
        Ok(self.fused.get_or_init(|| weights))
    }

    /// Whether the weights are on the CPU backend, where work is cut into shards for the cores.
    pub(crate) fn on_cpu(&self) -> bool {
        self.device.clone().inner() == Device::flex()
    }

    /// The head's weight `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> &Tensor<2> {
        &self.head
    }

    /// Hidden states of tokens before the first block, `[tokens, hidden]`.
    pub(crate) fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embedding.clone().select(0, ids)
    }
}

/// Rows and columns of a linear layer: `[out, in]`.
pub(crate) fn linear_shape(config: &ModelConfig, module: LinearModule) -> [usize; 2] {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    match module {
        LinearModule::Query => [queries, hidden],
        LinearModule::Key | LinearModule::Value => [keys, hidden],
        LinearModule::Output => [hidden, queries],
        LinearModule::Gate | LinearModule::Up => [ffn, hidden],
        LinearModule::Down => [hidden, ffn],
    }
}
