use std::ops::Range;

use crate::weights::{WeightPlace, WeightTensor};

/// Weights that are trained themselves, as the fused pass takes them; none by default.
#[derive(Clone, Copy, Default)]
pub(super) struct Dense<'a> {
    pub(super) tensors: &'a [WeightTensor],
    pub(super) values: &'a [f32],
}

/// One of them: it stands in for the model's own.
#[derive(Clone)]
pub(super) struct Own<'a> {
    pub(super) values: &'a [f32],
    /// Where its gradient goes.
    pub(super) at: Range<usize>,
}

impl<'a> Dense<'a> {
    pub(super) fn get(&self, place: WeightPlace) -> Option<Own<'a>> {
        let tensor = self.tensors.iter().find(|tensor| tensor.place == place)?;
        Some(Own { values: &self.values[tensor.range()], at: tensor.range() })
    }

    /// The first block with a trained weight.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.tensors.iter().filter_map(|tensor| tensor.place.layer()).min()
    }
}
