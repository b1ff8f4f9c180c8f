use rayon::prelude::*;
use refit_kernels::Lanes;

use crate::model::Mask;

/// Tokens of a word of a mask.
const TOKENS: usize = 16;

/// `to` becomes what a mask leaves of `x`.
pub(super) fn masked(mask: &Mask, x: &Lanes, to: &mut Lanes) {
    to.reuse(x.features(), x.tokens());
    let stride = x.stride();
    to.values_mut().par_chunks_mut(stride).zip(x.values().par_chunks(stride)).enumerate().for_each(
        |(feature, (to, x))| {
            for ((to, x), word) in to.chunks_exact_mut(TOKENS).zip(x.chunks_exact(TOKENS)).zip(mask.words(feature)) {
                for (bit, (to, x)) in to.iter_mut().zip(x).enumerate() {
                    *to = if word >> bit & 1 == 1 { x * mask.factor() } else { 0.0 };
                }
            }
        },
    );
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
