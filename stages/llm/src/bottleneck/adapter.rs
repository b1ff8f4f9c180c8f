use std::ops::Range;

use refit_checkpoint::{Family, ModelConfig};

use super::{BottleneckConfig, BottleneckPlace};
use crate::{LlmError, adapter::AdapterTemplate};

/// The families whose blocks are x + attention(norm(x)) and then + feed-forward(norm(·)), as the library's definitions have
/// it. Others norm what is added as well.
const FAMILIES: [Family; 9] = [
    Family::Llama,
    Family::Mistral,
    Family::Qwen2,
    Family::Qwen3,
    Family::SmolLm3,
    Family::Phi3,
    Family::Baichuan,
    Family::ChatGlm,
    Family::Glm,
];

/// Those that the library knows by itself.
const KNOWN_TO_LIBRARY: [Family; 4] = [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3];

/// Which tensor of a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BottleneckPart {
    /// D, `[width, hidden]`.
    Down,
    /// `[1, width]`; one dimension in the file.
    DownBias,
    /// U, `[hidden, width]`.
    Up,
    /// `[1, hidden]`; one dimension in the file.
    UpBias,
}

impl BottleneckPart {
    /// In the order of their values.
    const ALL: [Self; 4] = [Self::Down, Self::DownBias, Self::Up, Self::UpBias];

    /// Whether it is added rather than multiplied by.
    pub fn is_bias(self) -> bool {
        matches!(self, Self::DownBias | Self::UpBias)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Down => "adapter_down.0.weight",
            Self::DownBias => "adapter_down.0.bias",
            Self::Up => "adapter_up.weight",
            Self::UpBias => "adapter_up.bias",
        }
    }
}

/// One tensor and where its values lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BottleneckTensor {
    /// Index of the block.
    pub layer: usize,
    /// Where in the block.
    pub place: BottleneckPlace,
    /// Which tensor.
    pub part: BottleneckPart,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// First value in [`BottleneckAdapter::values`].
    pub start: usize,
    /// The name in `adapter.safetensors`.
    pub name: String,
}

impl BottleneckTensor {
    /// Its values in [`BottleneckAdapter::values`].
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.shape[0] * self.shape[1]
    }

    /// Its dimensions in the file.
    pub(super) fn file_shape(&self) -> &[usize] {
        if self.part.is_bias() { &self.shape[1..] } else { &self.shape }
    }
}

/// The tensors of one bottleneck.
#[derive(Debug, Clone, Copy)]
pub struct BottleneckModule<'a> {
    /// D.
    pub down: &'a BottleneckTensor,
    /// What is added behind it.
    pub down_bias: &'a BottleneckTensor,
    /// U.
    pub up: &'a BottleneckTensor,
    /// What is added behind it.
    pub up_bias: &'a BottleneckTensor,
}

/// A bottleneck adapter on the host: settings, and all values in one row, those of each bottleneck in turn.
#[derive(Debug, Clone, PartialEq)]
pub struct BottleneckAdapter {
    /// The settings.
    pub config: BottleneckConfig,
    /// The tensors, in the order of their values.
    pub tensors: Vec<BottleneckTensor>,
    /// All values.
    pub values: Vec<f32>,
    /// The chat template it was trained with, if known.
    pub template: Option<AdapterTemplate>,
}

impl BottleneckAdapter {
    /// One for a model, all zero.
    pub(crate) fn zeros(config: BottleneckConfig, model: &ModelConfig) -> Result<Self, LlmError> {
        refuse_other_blocks(model)?;
        if let Some(&layer) = config.leave_out.iter().find(|layer| **layer >= model.layers) {
            return Err(LlmError::NoSuchLayer { layer, layers: model.layers });
        }
        let hidden = model.hidden_size;
        let (mut tensors, mut start) = (Vec::new(), 0);
        for layer in (0..model.layers).filter(|layer| !config.leave_out.contains(layer)) {
            let width = config.reduction_factor.width(layer, hidden).ok_or_else(|| LlmError::AdapterMismatch {
                reason: format!("`reduction_factor` has no number above 0 for layer {layer}"),
            })?;
            for &place in &config.places {
                for part in BottleneckPart::ALL {
                    let shape = match part {
                        BottleneckPart::Down => [width, hidden],
                        BottleneckPart::DownBias => [1, width],
                        BottleneckPart::Up => [hidden, width],
                        BottleneckPart::UpBias => [1, hidden],
                    };
                    let (layers, place_name, part_name) = (model.names.layers, place.name(), part.name());
                    let name = format!("{layers}.{layer}.{place_name}.adapters.{}.{part_name}", config.name);
                    tensors.push(BottleneckTensor { layer, place, part, shape, start, name });
                    start += shape[0] * shape[1];
                }
            }
        }
        if tensors.is_empty() {
            return Err(LlmError::NothingAdapted);
        }
        Ok(Self { config, tensors, values: vec![0.0; start], template: None })
    }

    /// Says whether it is one for a model of these sizes.
    pub(super) fn check_fits(&self, model: &ModelConfig) -> Result<(), LlmError> {
        refuse_other_blocks(model)?;
        let wrong = |reason: String| Err(LlmError::AdapterMismatch { reason });
        if let Some(BottleneckTensor { layer, name, .. }) =
            self.tensors.iter().find(|tensor| tensor.layer >= model.layers)
        {
            return wrong(format!("`{name}` is for layer {layer}, but the model has {}", model.layers));
        }
        for module in self.modules() {
            if module.up_bias.shape[1] != model.hidden_size {
                let (found, expected) = (module.up_bias.shape[1], model.hidden_size);
                return wrong(format!("`{}` has {found} numbers, but {expected} fit", module.up_bias.name));
            }
        }
        Ok(())
    }

    /// The bottlenecks.
    pub fn modules(&self) -> impl Iterator<Item = BottleneckModule<'_>> {
        self.tensors.chunks_exact(BottleneckPart::ALL.len()).map(|tensors| BottleneckModule {
            down: &tensors[0],
            down_bias: &tensors[1],
            up: &tensors[2],
            up_bias: &tensors[3],
        })
    }

    /// Whether the `adapters` library knows the model's architecture by itself; it takes others with an
    /// `AdapterModelInterface` that names their parts.
    pub fn known_to_library(model: &ModelConfig) -> bool {
        KNOWN_TO_LIBRARY.contains(&model.family)
    }
}

fn refuse_other_blocks(model: &ModelConfig) -> Result<(), LlmError> {
    if FAMILIES.contains(&model.family) {
        return Ok(());
    }
    let names: Vec<String> = FAMILIES.iter().map(|family| format!("`{family}`")).collect();
    Err(LlmError::NoBottleneck { family: model.family.to_string(), supported: names.join(", ") })
}
