use refit_checkpoint::ModelConfig;

use super::{AdapterTemplate, LoraConfig};
use crate::{LlmError, model::LinearModule};

/// Which tensor of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `[rank, in]`, first applied.
    A,
    /// `[out, rank]`.
    B,
    /// DoRA's lengths of the rows, `[out, 1]`; one dimension in the file.
    Magnitude,
}

/// One tensor of an adapter and where its values lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterTensor {
    /// Index of the block.
    pub layer: usize,
    /// The linear layer.
    pub module: LinearModule,
    /// Its full name in the model: `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// Which tensor.
    pub part: Part,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// First value in [`Adapter::values`].
    pub start: usize,
}

impl AdapterTensor {
    /// The name in `adapter_model.safetensors`.
    pub fn name(&self) -> String {
        let part = match self.part {
            Part::A => "lora_A.weight",
            Part::B => "lora_B.weight",
            Part::Magnitude => "lora_magnitude_vector",
        };
        format!("base_model.model.{}.{part}", self.path)
    }

    /// The last part of the linear layer's name: `q_proj`.
    pub fn short_name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// Its dimensions in the file.
    pub(super) fn file_shape(&self) -> &[usize] {
        if self.part == Part::Magnitude { &self.shape[..1] } else { &self.shape }
    }

    /// Its values in [`Adapter::values`].
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.shape[0] * self.shape[1]
    }
}

/// The tensors of one linear layer.
#[derive(Debug, Clone, Copy)]
pub struct AdaptedModule<'a> {
    /// Index of the block.
    pub layer: usize,
    /// The linear layer.
    pub module: LinearModule,
    /// A.
    pub a: &'a AdapterTensor,
    /// B.
    pub b: &'a AdapterTensor,
    /// The lengths of the rows, in DoRA.
    pub magnitude: Option<&'a AdapterTensor>,
}

/// An adapter on the host: settings, and all values in one row, A, B and perhaps the magnitude of each module in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The settings.
    pub config: LoraConfig,
    /// The tensors, in the order of their values.
    pub tensors: Vec<AdapterTensor>,
    /// All values.
    pub values: Vec<f32>,
    /// The chat template it was trained with, if known.
    pub template: Option<AdapterTemplate>,
}

impl Adapter {
    /// The tensors of an adapter over these modules, all zero.
    pub(crate) fn zeros(config: LoraConfig, model: &ModelConfig, modules: &[(usize, LinearModule)]) -> Self {
        let mut tensors = Vec::with_capacity(modules.len() * 2);
        let mut start = 0;
        for &(layer, module) in modules {
            let [out, width] = model.linear_shape(module);
            let path = model.linear_path(layer, module);
            let magnitude = config.dora.then_some((Part::Magnitude, [out, 1]));
            for (part, shape) in
                [(Part::A, [config.rank, width]), (Part::B, [out, config.rank])].into_iter().chain(magnitude)
            {
                tensors.push(AdapterTensor { layer, module, path: path.clone(), part, shape, start });
                start += shape[0] * shape[1];
            }
        }
        Self { config, tensors, values: vec![0.0; start], template: None }
    }

    /// Says whether the shapes are those of a model.
    pub(super) fn check_shapes(&self, model: &ModelConfig) -> Result<(), LlmError> {
        for tensor in &self.tensors {
            if tensor.layer >= model.layers {
                return Err(LlmError::AdapterMismatch {
                    reason: format!(
                        "`{}` is for layer {}, but the model has {}",
                        tensor.name(),
                        tensor.layer,
                        model.layers
                    ),
                });
            }
            let [out, width] = model.linear_shape(tensor.module);
            let expected = match tensor.part {
                Part::A => [self.config.rank, width],
                Part::B => [out, self.config.rank],
                Part::Magnitude => [out, 1],
            };
            if tensor.shape != expected {
                return Err(LlmError::AdapterMismatch {
                    reason: format!("`{}` is {:?}, but {expected:?} fits", tensor.name(), tensor.shape),
                });
            }
        }
        Ok(())
    }

    /// The adapted linear layers.
    pub fn modules(&self) -> impl Iterator<Item = AdaptedModule<'_>> {
        self.tensors.chunks_exact(if self.config.dora { 3 } else { 2 }).map(|tensors| AdaptedModule {
            layer: tensors[0].layer,
            module: tensors[0].module,
            a: &tensors[0],
            b: &tensors[1],
            magnitude: tensors.get(2),
        })
    }

    /// One that changes nothing: the model by itself.
    pub(crate) fn none() -> Self {
        Self { config: LoraConfig::default(), tensors: Vec::new(), values: Vec::new(), template: None }
    }

    /// How many values are trained.
    pub fn parameters(&self) -> usize {
        self.values.len()
    }
}
