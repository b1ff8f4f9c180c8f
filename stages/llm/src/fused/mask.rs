use rayon::prelude::*;
use refit_kernels::{Isa, Lanes, Make, Rows};

use crate::model::Mask;

/// Tokens of a word of a mask.
const TOKENS: usize = 16;

/// What a mask leaves of some rows.
pub(super) struct Masked<'a> {
    pub(super) mask: &'a Mask,
    pub(super) x: Rows<'a>,
}

impl Make for Masked<'_> {
    fn features(&self) -> usize {
        self.x.features()
    }

    fn tokens(&self) -> usize {
        self.x.tokens()
    }

    fn make(&self, isa: Isa, first: usize, to: &mut [f32]) {
        self.x.write(isa, first, to);
        for (feature, row) in (first..).zip(to.chunks_exact_mut(self.x.stride())) {
            for (row, word) in row.chunks_exact_mut(TOKENS).zip(self.mask.words(feature)) {
                for (bit, value) in row.iter_mut().enumerate() {
                    *value = if word >> bit & 1 == 1 { *value * self.mask.factor() } else { 0.0 };
                }
            }
        }
    }
}

/// Adds to `to` what a mask leaves of `x`.
pub(super) fn add_masked(mask: &Mask, x: &Lanes, to: &mut Lanes) {
    let stride = x.stride();
    to.values_mut().par_chunks_mut(stride).zip(x.values().par_chunks(stride)).enumerate().for_each(
        |(feature, (to, x))| {
            for ((to, x), word) in to.chunks_exact_mut(TOKENS).zip(x.chunks_exact(TOKENS)).zip(mask.words(feature)) {
                for (bit, (to, x)) in to.iter_mut().zip(x).enumerate() {
                    *to += if word >> bit & 1 == 1 { x * mask.factor() } else { 0.0 };
                }
            }
        },
    );
}
