use std::ops::Range;

use crate::weights::{UnitRows, WeightPlace, WeightTensor};

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

/// A head that is trained.
pub(super) struct TrainedHead<'a> {
    own: Own<'a>,
    /// Its rows at length 1, where the model computes with these.
    unit: Option<UnitRows>,
}

impl<'a> TrainedHead<'a> {
    pub(super) fn new(own: Own<'a>, unit: Option<UnitRows>) -> Self {
        Self { own, unit }
    }

    /// What products take.
    pub(super) fn values(&self) -> &[f32] {
        self.unit.as_ref().map_or(self.own.values, UnitRows::values)
    }

    /// Lets `compute` add to the gradient by what products take, and hands it on to the head's own in `gradient`.
    pub(super) fn with_gradient<T>(&self, gradient: &mut [f32], compute: impl FnOnce(&mut [f32]) -> T) -> T {
        let own = &mut gradient[self.own.at.clone()];
        let Some(unit) = &self.unit else { return compute(own) };
        let mut by_unit = vec![0f32; own.len()];
        let computed = compute(&mut by_unit);
        unit.add_gradient(&by_unit, own);
        computed
    }
}
