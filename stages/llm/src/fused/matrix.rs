use refit_kernels::{Isa, Left, Panels, Precision, Right, Weight};

use super::dense::{Own, TrainedHead};

/// The matrix of a linear layer or of the head: the model's own, or one that is trained in its place.
#[derive(Clone, Copy)]
pub(super) enum Matrix<'a> {
    Frozen(&'a Weight),
    /// Row by row, and how many rows.
    Trained(&'a [f32], usize),
}

impl<'a> Matrix<'a> {
    pub(super) fn of(frozen: &'a Weight, own: Option<&Own<'a>>) -> Self {
        own.map_or(Self::Frozen(frozen), |own| Self::Trained(own.values, frozen.out()))
    }

    /// The same of the head.
    pub(super) fn of_head(frozen: &'a Weight, trained: Option<&'a TrainedHead<'_>>) -> Self {
        trained.map_or(Self::Frozen(frozen), |head| Self::Trained(head.values(), frozen.out()))
    }

    /// Rows.
    pub(super) fn out(self) -> usize {
        match self {
            Self::Frozen(weight) => weight.out(),
            Self::Trained(_, out) => out,
        }
    }

    /// For weights of which precision its products take rows that were packed; as they are if absent.
    pub(super) fn packs(self) -> Option<Precision> {
        match self {
            Self::Frozen(weight) => Some(weight.precision()),
            Self::Trained(..) => None,
        }
    }

    /// Rows that lie in lanes (`stride` tokens each) as its products take them; where that is not as they are, in `panels`.
    pub(super) fn other_side<'r>(self, isa: Isa, panels: &'r mut Panels, rows: &'r [f32], stride: usize) -> Right<'r> {
        match self.packs() {
            Some(precision) => panels.pack(isa, precision, rows, stride),
            None => Right::Lanes { rows, stride },
        }
    }

    /// W.
    pub(super) fn plain(self) -> Left<'a> {
        match self {
            Self::Frozen(weight) => Left::Weight(weight),
            Self::Trained(values, out) => Left::matrix(values, out),
        }
    }

    /// Wᵀ.
    pub(super) fn transposed(self) -> Left<'a> {
        match self {
            Self::Frozen(weight) => Left::Transposed(weight),
            Self::Trained(values, out) => Left::transposed(values, out),
        }
    }
}
