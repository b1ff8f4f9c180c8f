use super::{bottleneck::Bottlenecks, dense::Dense, lora::Lora};
use crate::{LlmError, Model, adapter::Adapter, bottleneck::BottleneckAdapter, weights::WeightTensor};

/// What the fused pass does otherwise than the model alone.
pub struct Changes<'a> {
    pub(super) lora: Lora<'a>,
    pub(super) dense: Dense<'a>,
    pub(super) bottlenecks: Bottlenecks<'a>,
}

impl<'a> Changes<'a> {
    /// Those of what was applied to a model, if anything was.
    pub(crate) fn applied(model: &'a Model) -> Result<Self, LlmError> {
        match &model.applied {
            Some(applied) => applied.0.changes(model),
            None => Ok(Self::none(model.config.layers)),
        }
    }

    /// Those of nothing, in a model with so many blocks.
    fn none(blocks: usize) -> Self {
        Self { lora: Lora::none(blocks), dense: Dense::default(), bottlenecks: Bottlenecks::default() }
    }

    /// Those of an adapter.
    pub(crate) fn of_adapter(adapter: &'a Adapter, model: &Model) -> Result<Self, LlmError> {
        Ok(Self { lora: Lora::new(adapter, model.fused()?), ..Self::none(model.config.layers) })
    }

    /// Those of weights that are trained themselves, of a model with so many blocks.
    pub(crate) fn of_weights(tensors: &'a [WeightTensor], values: &'a [f32], blocks: usize) -> Self {
        Self { dense: Dense { tensors, values }, ..Self::none(blocks) }
    }

    /// Those of a bottleneck adapter, of a model with so many blocks.
    pub(crate) fn of_bottlenecks(adapter: &'a BottleneckAdapter, blocks: usize) -> Self {
        Self { bottlenecks: Bottlenecks::new(adapter, blocks), ..Self::none(blocks) }
    }

    /// The first block with something that is trained, if there is one: no gradient is needed below it.
    pub(super) fn lowest(&self) -> Option<usize> {
        [self.lora.lowest(), self.dense.lowest(), self.bottlenecks.lowest()].into_iter().flatten().min()
    }
}
