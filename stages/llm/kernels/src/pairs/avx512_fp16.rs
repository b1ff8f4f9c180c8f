//! The same with halves: products are added up in f16 for [`CHAIN`] pairs at a time, then in f32.

use std::arch::x86_64::{
    __m512h, _MM_HINT_T0, _mm_prefetch, _mm512_add_ph, _mm512_castph_si512, _mm512_castsi512_ph, _mm512_cvtepi32_epi16,
    _mm512_cvtph_ps, _mm512_fmadd_ph, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ph, _mm512_storeu_ps,
};

use super::{
    PairStrip, TILE_PAIRS,
    halves::CHAIN,
    panels::PANEL,
    strip::{AtOnce, of_size},
};
use crate::{ahead::Asking, lanes::PAD};

/// Pairs of the right side that are asked for before they are met.
const PAIRS_AHEAD: usize = 32;

/// # Safety
/// The lengths must be those that [`PairStrip::run`] asserts.
#[target_feature(enable = "avx512f,avx512fp16")]
pub(super) unsafe fn strip(strip: &mut PairStrip<'_>) {
    // Each tile asks for some of what comes next.
    let mut asking = strip.asking(strip.blocks().count() * strip.a.count);
    for at in strip.blocks() {
        // SAFETY: the lengths are as asserted.
        unsafe { of_size!(at, block(strip, at, &mut asking)) };
    }
}

/// # Safety
/// All of it has to be there.
#[target_feature(enable = "avx512f,avx512fp16")]
#[inline]
unsafe fn block<const M: usize, const N: usize>(strip: &mut PairStrip<'_>, at: AtOnce, asking: &mut Asking<'_>) {
    let PairStrip { a: walk, stride, mut accumulate, .. } = *strip;
    // SAFETY: the caller says so.
    unsafe {
        let (a, mut b, c) = strip.places(at);
        let mut scales = strip.scales_at(at.panel);
        let left = _mm512_set1_ps(walk.scale);
        for first in (0..walk.count).step_by(CHAIN / TILE_PAIRS) {
            let mut sums = [[_mm512_setzero_ph(); N]; M];
            for tile in first..(first + CHAIN / TILE_PAIRS).min(walk.count) {
                asking.go_on();
                let mut at = a.add(tile * walk.tile);
                for _ in 0..TILE_PAIRS {
                    for j in 0..N {
                        _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(PAIRS_AHEAD * PANEL + j * PAD).cast());
                    }
                    let right: [__m512h; N] =
                        std::array::from_fn(|j| _mm512_castsi512_ph(_mm512_loadu_si512(b.add(j * PAD).cast())));
                    for (i, row) in sums.iter_mut().enumerate() {
                        let left = _mm512_castsi512_ph(_mm512_set1_epi32(*at.add(i * TILE_PAIRS) as i32));
                        for (sum, right) in row.iter_mut().zip(&right) {
                            *sum = _mm512_fmadd_ph(left, *right, *sum);
                        }
                    }
                    at = at.add(1);
                    b = b.add(PANEL);
                }
            }
            let scale: [_; N] = std::array::from_fn(|j| _mm512_mul_ps(left, _mm512_loadu_ps(scales.add(j * PAD))));
            scales = scales.add(PANEL);
            for (i, row) in sums.iter().enumerate() {
                for (j, sum) in row.iter().enumerate() {
                    let turned = _mm512_castsi512_ph(_mm512_rol_epi32::<16>(_mm512_castph_si512(*sum)));
                    let both = _mm512_castph_si512(_mm512_add_ph(*sum, turned));
                    let wide = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
                    let to = c.add(i * stride + j * PAD);
                    let sum = if accumulate {
                        _mm512_fmadd_ps(wide, scale[j], _mm512_loadu_ps(to))
                    } else {
                        _mm512_mul_ps(wide, scale[j])
                    };
                    _mm512_storeu_ps(to, sum);
                }
            }
            accumulate = true;
        }
    }
}
