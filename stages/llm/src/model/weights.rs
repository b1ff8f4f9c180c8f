use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_checkpoint::{Checkpoint, HostTensor, ModelConfig};
use refit_kernels::Isa;

use super::{
    Frozen, LinearModule, LoraWeights, WeightForm, decoder::DecoderLayer, linear::Linear, norm::RmsNorm, rope::Rope,
};
use crate::{LlmError, adapter::Adapter, device::is_cpu, fused::FusedWeights};

/// A decoder with its frozen weights on a device, and an adapter if one is applied.
///
/// Cloning is cheap: tensors are shared.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) device: Device,
    /// `[vocabulary, hidden]`.
    pub(crate) embedding: Frozen,
    pub(crate) layers: Vec<DecoderLayer>,
    pub(crate) norm: RmsNorm,
    /// `[vocabulary, hidden]`; the embedding itself if tied.
    pub(crate) head: Frozen,
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
        Self::load_as(checkpoint, device, WeightForm::default())
    }

    /// The same with the frozen matrices in another form.
    pub fn load_as(checkpoint: &Checkpoint, device: &Device, form: WeightForm) -> Result<Self, LlmError> {
        Self::build_as(checkpoint.config().clone(), device, form, |name| Ok(checkpoint.tensor(name)?))
    }

    /// Builds a model from tensors by their Hugging Face names, `[out, in]` as the files hold them.
    pub fn build(
        config: ModelConfig,
        device: &Device,
        tensor: impl FnMut(&str) -> Result<HostTensor, LlmError>,
    ) -> Result<Self, LlmError> {
        Self::build_as(config, device, WeightForm::default(), tensor)
    }

    /// The same with the frozen matrices in another form.
    pub fn build_as(
        config: ModelConfig,
        device: &Device,
        form: WeightForm,
        mut tensor: impl FnMut(&str) -> Result<HostTensor, LlmError>,
    ) -> Result<Self, LlmError> {
        let (hidden, eps) = (config.hidden_size, config.rms_eps);
        let mut read = |name: &str, expected: &[usize]| -> Result<Vec<f32>, LlmError> {
            let host = tensor(name)?;
            if host.shape != expected {
                return Err(LlmError::WeightShape { name: name.into(), found: host.shape, expected: expected.into() });
            }
            Ok(host.values)
        };
        let vector = |values: Vec<f32>| {
            let length = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [length]), device)
        };
        // Only its rows are read, unless it is the head as well.
        let table = if config.tied_head { form } else { WeightForm::default() };
        let shape = [config.vocab_size, hidden];
        let embedding = Frozen::new(read("model.embed_tokens.weight", &shape)?, shape, table, device);
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let mut linear = |module: LinearModule, bias: bool| -> Result<Linear, LlmError> {
                let (path, shape) = (module.path(index), linear_shape(&config, module));
                let weight = Frozen::new(read(&format!("{path}.weight"), &shape)?, shape, form, device);
                let bias = if bias { Some(vector(read(&format!("{path}.bias"), &shape[..1])?)) } else { None };
                Ok(Linear::new(weight, bias))
            };
            let [query, key, value] = [LinearModule::Query, LinearModule::Key, LinearModule::Value]
                .map(|module| linear(module, config.qkv_bias));
            let [output, gate, up, down] =
                [LinearModule::Output, LinearModule::Gate, LinearModule::Up, LinearModule::Down]
                    .map(|module| linear(module, false));
            let mut norm = |name: &str| -> Result<RmsNorm, LlmError> {
                let weight = read(&format!("model.layers.{index}.{name}.weight"), &[hidden])?;
                Ok(RmsNorm::new(vector(weight), eps))
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
        let norm = RmsNorm::new(vector(read("model.norm.weight", &[hidden])?), eps);
        let head = if config.tied_head {
            embedding.clone()
        } else {
            Frozen::new(read("lm_head.weight", &shape)?, shape, form, device)
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
        let weights = FusedWeights::new(self, Isa::best())?;
        Ok(self.fused.get_or_init(|| weights))
    }

    /// Whether the weights are on the CPU backend, where work is cut into shards for the cores.
    pub(crate) fn on_cpu(&self) -> bool {
        is_cpu(&self.device)
    }

    /// The head's weight `[vocabulary, hidden]`.
    pub(crate) fn head(&self) -> Tensor<2> {
        self.head.tensor()
    }

    /// Hidden states of tokens before the first block, `[tokens, hidden]`.
    pub(crate) fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        self.embedding.tensor().select(0, ids)
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
