use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_checkpoint::{Checkpoint, HostTensor, LinearForm, LinearModule, ModelConfig, NormPlace, StoredTensor};
use refit_kernels::Isa;

use super::{
    AttentionShape, LayerBottlenecks, LoraWeights, Quantization, WeightForm, WeightsKept, decoder::DecoderLayer,
    frozen::Frozen, linear::Linear, norm::RmsNorm, rope::Rope, sizes::Sizes, table::Table,
};
use crate::{LlmError, device::is_cpu, fused::FusedWeights, train::Trainable};

/// A decoder with its frozen weights on a device, and an adapter if one is applied.
///
/// Cloning is cheap: tensors are shared.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) device: Device,
    /// `[vocabulary, hidden]`.
    pub(crate) embedding: Table,
    pub(crate) layers: Vec<DecoderLayer>,
    pub(crate) norm: RmsNorm,
    /// `[vocabulary, hidden]`; the embedding itself if tied.
    pub(crate) head: Table,
    /// How long the rows of the head are in its file, where they are kept at length 1.
    pub(crate) head_lengths: Option<Arc<[f64]>>,
    pub(crate) rope: Rope,
    /// How large the dimensions of its passes are made.
    pub(crate) sizes: Sizes,
    pub(crate) lora: LoraWeights,
    /// One entry per block.
    pub(crate) bottlenecks: Vec<LayerBottlenecks>,
    pub(crate) kept: WeightsKept,
    /// What was applied, as the fused pass takes it.
    pub(crate) applied: Option<Applied>,
    /// The frozen weights for the fused pass, once that was asked for.
    pub(crate) fused: Arc<OnceLock<FusedWeights>>,
}

/// Trained values that a model computes with.
#[derive(Clone)]
pub(crate) struct Applied(pub(crate) Arc<dyn Trainable + Send>);

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.0.values().len())
    }
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
        let config = checkpoint.config().clone();
        match form.quantization {
            Quantization::Unpack => Self::build_as(config, device, form, |name| Ok(checkpoint.tensor(name)?)),
            Quantization::Keep | Quantization::Nf4 => {
                Self::build_as(config, device, form, |name| Ok(checkpoint.stored(name)?))
            }
        }
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
    pub fn build_as<T: Into<StoredTensor>>(
        config: ModelConfig,
        device: &Device,
        form: WeightForm,
        mut tensor: impl FnMut(&str) -> Result<T, LlmError>,
    ) -> Result<Self, LlmError> {
        let (hidden, eps) = (config.hidden_size, config.rms_eps);
        let mut read = |name: &str, expected: &[usize]| -> Result<StoredTensor, LlmError> {
            let stored: StoredTensor = tensor(name)?.into();
            if stored.shape() != expected {
                let found = stored.shape().to_vec();
                return Err(LlmError::WeightShape { name: name.into(), found, expected: expected.into() });
            }
            Ok(stored)
        };
        let vector = |values: Vec<f32>| {
            let length = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [length]), device)
        };
        // Only its rows are read, unless it is the head as well.
        let tables = WeightForm { quantization: form.quantization.of_tables(), ..form };
        let table = if config.tied_head { form } else { WeightForm::default() };
        let table = WeightForm { quantization: tables.quantization, ..table };
        let mut kept = WeightsKept::default();
        let (shape, names) = ([config.vocab_size, hidden], config.names);
        let name = format!("{}.weight", names.embedding);
        let embedding = Table::new(&name, read(&name, &shape)?, shape, table, device)?;
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let mut linear = |form_of: &LinearForm| -> Result<Linear, LlmError> {
                let (module, shape) = (form_of.module, config.linear_shape(form_of.module));
                let path = config.linear_path(index, module);
                let name = format!("{path}.weight");
                let weight = Frozen::new(&name, read(&name, &shape)?, shape, form, device)?;
                kept.count(&weight);
                let bias = if form_of.bias {
                    Some(vector(read(&format!("{path}.bias"), &shape[..1])?.decode().values))
                } else {
                    None
                };
                Ok(Linear::new(module, weight, bias))
            };
            let mut linears = |wanted: fn(LinearModule) -> bool| -> Result<Vec<Linear>, LlmError> {
                config.linears.iter().filter(|form| wanted(form.module)).map(&mut linear).collect()
            };
            let attention_inputs = linears(LinearModule::is_attention_input)?;
            let output = linears(|module| module == LinearModule::Output)?.remove(0);
            let feed_forward_inputs = linears(LinearModule::is_feed_forward_input)?;
            let down = linears(|module| module == LinearModule::Down)?.remove(0);
            let mut norm = |place: NormPlace| -> Result<Option<RmsNorm>, LlmError> {
                let Some(form) = config.norm(place) else { return Ok(None) };
                let width = if place.is_of_heads() { config.head_dim } else { hidden };
                let weight =
                    shifted(read(&config.norm_weight(index, form), &[width])?.decode().values, config.norm_offset);
                Ok(Some(RmsNorm::new(vector(weight), eps)))
            };
            let always = "invariant: every block has a norm there";
            let of_heads = (norm(NormPlace::Queries)?, norm(NormPlace::Keys)?);
            layers.push(DecoderLayer {
                attention_norm: norm(NormPlace::BeforeAttention)?.expect(always),
                attention_inputs,
                head_norms: of_heads.0.zip(of_heads.1).map(<[RmsNorm; 2]>::from),
                output,
                after_attention: norm(NormPlace::AfterAttention)?,
                feed_forward_norm: norm(NormPlace::BeforeFeedForward)?.expect(always),
                feed_forward_inputs,
                down,
                after_feed_forward: norm(NormPlace::AfterFeedForward)?,
                activation: config.activation,
                shape: AttentionShape::of(&config),
                wide: config.intermediate_size,
            });
        }
        let norm = shifted(read(&format!("{}.weight", names.norm), &[hidden])?.decode().values, config.norm_offset);
        let norm = RmsNorm::new(vector(norm), eps);
        let mut head_lengths = None;
        let head = if config.tied_head {
            embedding.clone()
        } else {
            let name = format!("{}.weight", names.head);
            let mut rows = read(&name, &shape)?;
            if config.unit_head {
                let plain = rows.decode();
                head_lengths = Some(plain.row_lengths().into());
                rows = StoredTensor::Plain(plain.with_unit_rows());
            }
            Table::new(&name, rows, shape, tables, device)?
        };
        let untied = (!config.tied_head).then_some(&head);
        [Some(&embedding), untied].into_iter().flatten().for_each(|table| table.count_in(&mut kept));
        Ok(Self {
            rope: Rope::new(&config, device),
            sizes: Sizes::on(device),
            lora: LoraWeights::none(config.layers),
            bottlenecks: vec![LayerBottlenecks::default(); config.layers],
            kept,
            applied: None,
            device: device.clone(),
            config,
            embedding,
            layers,
            norm,
            head,
            head_lengths,
            fused: Arc::default(),
        })
    }

    /// Sizes and constants of the architecture.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// How the matrices are kept in memory.
    pub fn weights_kept(&self) -> &WeightsKept {
        &self.kept
    }

    /// Whether some linear layers are unpacked each time that burn operations multiply by them.
    pub(crate) fn unpacks_for_each_use(&self) -> bool {
        let mut linears = self.layers.iter().flat_map(DecoderLayer::linears);
        linears.any(|linear| linear.weight().unpacks_for_each_use())
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

    /// A linear layer of a block, which a model of this kind has.
    pub(crate) fn linear(&self, layer: usize, module: LinearModule) -> &Linear {
        let found = self.layers[layer].linears().find(|linear| linear.module() == module);
        found.expect("invariant: modules are those of the model")
    }

    /// Hidden states of tokens before the first block, `[tokens, hidden]`.
    pub(crate) fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let rows = self.embedding.select(ids);
        match self.config.embedding_scale {
            Some(scale) => rows * scale,
            None => rows,
        }
    }
}

/// Weights of a norm of which the file holds what is above an offset.
fn shifted(mut weight: Vec<f32>, offset: f32) -> Vec<f32> {
    for value in &mut weight {
        *value += offset;
    }
    weight
}
