//! Numbers to pairs of bf16.

use super::{TILE_PAIRS, panels::PANEL};
use crate::{Isa, lanes::PAD};

/// Rounds rows of `stride` tokens and puts each two beside each other, in each panel at the place that `to` has for these rows; `isa` must
/// have bf16. Places beyond the rows become zero.
pub(super) fn pack_rows(isa: Isa, rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
    assert!(isa.has_bf16() && stride.is_multiple_of(PAD) && rows.len().is_multiple_of(stride));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has AVX512-BF16.
    unsafe {
        x86::pack_rows(rows, stride, to);
    }
    let filled = rows.len().div_ceil(2 * stride) * PANEL;
    for to in to {
        to[filled..].fill(0);
    }
}

/// Rounds numbers that lie beside each other; `isa` must have bf16, and there must be a multiple of 32 of them.
pub(crate) fn pair_up(isa: Isa, from: &[f32], to: &mut [u32]) {
    assert!(isa.has_bf16() && from.len() == 2 * to.len() && to.len().is_multiple_of(PAD));
    #[cfg(target_arch = "x86_64")]
    for (from, to) in from.chunks_exact(2 * PAD).zip(to.chunks_exact_mut(PAD)) {
        // SAFETY: the processor has AVX512-BF16, and the slices are 32 and 16 long.
        unsafe { x86::pair_up(from.as_ptr(), to.as_mut_ptr()) };
    }
}

/// Rounds 16 numbers of each of 32 rows that are `stride` long to the tile that has a row for each of the 16, `[16][32 / 2][2]`; `isa` must
/// have bf16.
pub(crate) fn transpose(isa: Isa, rows: &[f32], stride: usize, tile: &mut [u32]) {
    assert!(isa.has_bf16() && rows.len() >= (2 * TILE_PAIRS - 1) * stride + PAD && tile.len() == TILE_PAIRS * PAD);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has AVX512-BF16.
    unsafe {
        x86::transpose(rows, stride, tile);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
        _mm512_cvtneps_pbh, _mm512_loadu_ps, _mm512_or_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32,
        _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
        _mm512_unpacklo_epi64,
    };

    use super::{PAD, PANEL};

    /// Pairs of rows that are asked for before they are packed: they are read faster than the processor looks ahead by itself.
    const PAIRS_AHEAD: usize = 4;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn pack_rows(rows: &[f32], stride: usize, to: &mut [&mut [u32]]) {
        let zeros = [0.0; PAD];
        for (pair, rows) in rows.chunks(2 * stride).enumerate() {
            let ahead = rows.as_ptr().wrapping_add(2 * PAIRS_AHEAD * stride);
            for at in (0..2 * stride).step_by(PAD) {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(at).cast());
            }
            let (even, odd) = rows.split_at(stride);
            for (panel, to) in to.iter_mut().enumerate() {
                let to = &mut to[pair * PANEL..(pair + 1) * PANEL];
                let first = panel * PANEL;
                let (filled, rest) = to.split_at_mut((stride - first).min(PANEL));
                for (at, to) in (first..).step_by(PAD).zip(filled.chunks_exact_mut(PAD)) {
                    let pairs = pairs(&even[at..at + PAD], odd.get(at..at + PAD).unwrap_or(&zeros));
                    // SAFETY: there is room for 16.
                    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
                }
                rest.fill(0);
            }
        }
    }

    /// Rounds 16 numbers of each of two rows.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn pairs(even: &[f32], odd: &[f32]) -> __m512i {
        assert!(even.len() >= PAD && odd.len() >= PAD);
        let halves = [even, odd].map(|from| {
            // SAFETY: there are 16 numbers of each; the types of 256 bits differ in name only.
            let rounded: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(from.as_ptr()))) };
            _mm512_cvtepu16_epi32(rounded)
        });
        _mm512_or_si512(halves[0], _mm512_slli_epi32::<16>(halves[1]))
    }

    /// # Safety
    /// `from` has 32 numbers, `to` has 16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn pair_up(from: *const f32, to: *mut u32) {
        // SAFETY: the caller says that the numbers are there; the types of 512 bits differ in name only.
        unsafe {
            let rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(PAD)), _mm512_loadu_ps(from));
            _mm512_storeu_si512(to.cast(), std::mem::transmute::<__m512bh, __m512i>(rounded));
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn transpose(rows: &[f32], stride: usize, tile: &mut [u32]) {
        let rows: [__m512i; 16] =
            std::array::from_fn(|pair| pairs(&rows[2 * pair * stride..], &rows[(2 * pair + 1) * stride..]));
        // Pairs of rows, then fours of them change places within each quarter of the vectors, at last the quarters.
        let twos: [__m512i; 16] = std::array::from_fn(|at| {
            let (a, b) = (rows[at / 2 * 2], rows[at / 2 * 2 + 1]);
            if at % 2 == 0 { _mm512_unpacklo_epi32(a, b) } else { _mm512_unpackhi_epi32(a, b) }
        });
        let fours: [__m512i; 16] = std::array::from_fn(|at| {
            let first = at / 4 * 4 + at % 4 / 2;
            let (a, b) = (twos[first], twos[first + 2]);
            if at % 2 == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) }
        });
        // `fours[4i + j]` has, in quarter q, column 4q + j of rows 4i to 4i + 3.
        let halves: [__m512i; 16] = std::array::from_fn(|at| {
            let (column, low) = (at % 4, at / 8 * 8);
            let (a, b) = (fours[low + column], fours[low + 4 + column]);
            // Quarters 0 and 2 of both, or 1 and 3.
            if at % 8 < 4 {
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b)
            } else {
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)
            }
        });
        for (row, to) in tile.chunks_exact_mut(PAD).enumerate() {
            let (column, quarter) = (row % 4, row / 4);
            let at = column + quarter % 2 * 4;
            let (a, b) = (halves[at], halves[at + 8]);
            let whole = if quarter < 2 {
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b)
            } else {
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)
            };
            // SAFETY: there is room for 16.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), whole) };
        }
    }
}
