use std::arch::x86_64::{_mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};

use super::{
    PairStrip, TILE_PAIRS,
    panels::PANEL,
    strip::{AtOnce, of_size},
};
use crate::{
    lanes::PAD,
    simd::x86::{pair_products, read_pairs},
};

/// # Safety
/// The lengths must be those that [`PairStrip::run`] asserts.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn strip(strip: &mut PairStrip<'_>) {
    // Each block asks for some of what comes next.
    let mut asking = strip.asking(strip.blocks().count());
    for at in strip.blocks() {
        asking.go_on();
        // SAFETY: the lengths are as asserted.
        unsafe { of_size!(at, block(strip, at)) };
    }
}

/// # Safety
/// All of it has to be there.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn block<const M: usize, const N: usize>(strip: &mut PairStrip<'_>, at: AtOnce) {
    let PairStrip { a: walk, stride, accumulate, .. } = *strip;
    // SAFETY: the caller says so.
    unsafe {
        let (a, mut b, c) = strip.places(at);
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        if accumulate {
            for (i, row) in sums.iter_mut().enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(c.add(i * stride + j * PAD));
                }
            }
        }
        for tile in 0..walk.count {
            let mut at = a.add(tile * walk.tile);
            for _ in 0..TILE_PAIRS {
                let right: [_; N] = std::array::from_fn(|j| read_pairs(b.add(j * PAD)));
                for (i, row) in sums.iter_mut().enumerate() {
                    for (sum, right) in row.iter_mut().zip(&right) {
                        *sum = pair_products(*sum, *at.add(i * TILE_PAIRS), *right);
                    }
                }
                at = at.add(1);
                b = b.add(PANEL);
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                _mm512_storeu_ps(c.add(i * stride + j * PAD), *sum);
            }
        }
    }
}
