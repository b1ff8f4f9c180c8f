use super::{dense::Dense, lora::Lora};
use crate::{LlmError, Model, adapter::Adapter, weights::WeightTensor};

/// What the fused pass does otherwise than the model alone.
pub struct Changes<'a> {
    pub(super) lora: Lora<'a>,
    pub(super) dense: Dense<'a>,
}

impl<'a> Changes<'a> {
    /// Those of what was applied to a model, if anything was.
    pub(crate) fn applied(model: &'a Model) -> Result<Self, LlmError> {
        match &model.applied {
            Some(applied) => applied.0.changes(model),
            None => Ok(Self { lora: Lora::none(model.config.layers), dense: Dense::default() }),
        }
    }

    /// Those of an adapter.
    pub(crate) fn of_adapter(adapter: &'a Adapter, model: &Model) -> Result<Self, LlmError> {
        Ok(Self { lora: Lora::new(adapter, model.fused()?), dense: Dense::default() })
    }

    /// Those of weights that are trained themselves, of a model with so many blocks.
    pub(crate) fn of_weights(tensors: &'a [WeightTensor], values: &'a [f32], blocks: usize) -> Self {
        Self { lora: Lora::none(blocks), dense: Dense { tensors, values } }
    }

    /// The first block with something that is trained, if there is one: no gradient is needed below it.
    pub(super) fn lowest(&self) -> Option<usize> {
        [self.lora.lowest(), self.dense.lowest()].into_iter().flatten().min()
    }
}
