//! Blocks of numbers to tiles of pairs of bf16.
//!
//! A number in f32 is the sum of three in bf16, to the last of its 24 bits: the nearest one, the one nearest to what is left, and what is left
//! then. Products of the parts whose sizes are not beyond what f32 holds (six of nine) are as good as a product in f32.

use super::TILE_PAIRS;
use crate::{Isa, lanes::PAD, weight::TILE_SIZE};

/// Parts of a number in f32.
pub(crate) const PARTS: usize = 3;

/// 16 rows of 32 columns.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other processor computes with pairs yet"))]
    pub(crate) lies: Lies,
    /// The first 16 columns, and the last.
    pub(crate) halves: [&'a [f32]; 2],
    /// From a row, or a column, to the next.
    pub(crate) stride: usize,
}

/// How numbers lie.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Lies {
    ByRow,
    ByColumn,
}

/// Makes the tile of a block, or that of each part, `[parts][16][16][2]`; `isa` must have bf16.
pub(crate) fn fill(isa: Isa, parts: usize, block: Block<'_>, to: &mut [u32]) {
    assert!(isa.has_pairs() && to.len() == parts * TILE_SIZE);
    assert!(block.halves.iter().all(|half| half.len() >= (PAD - 1) * block.stride + PAD));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has AVX512-BF16, and the lengths are those asserted.
    unsafe {
        x86::fill(block, to);
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512, __m512bh, __m512i, _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32,
        _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_extracti64x4_epi64, _mm512_loadu_ps, _mm512_or_si512,
        _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_ps,
        _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    use super::{Block, Lies, PAD, TILE_PAIRS, TILE_SIZE};

    /// # Safety
    /// The lengths must be those that [`super::fill`] asserts.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn fill(block: Block<'_>, to: &mut [u32]) {
        // SAFETY: the caller says so.
        unsafe {
            let vector = |half: usize, at: usize| _mm512_loadu_ps(block.halves[half].as_ptr().add(at * block.stride));
            if block.lies == Lies::ByRow {
                for row in 0..TILE_PAIRS {
                    let mut left = [vector(0, row), vector(1, row)];
                    for tile in to.chunks_exact_mut(TILE_SIZE) {
                        let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(left[1], left[0]));
                        _mm512_storeu_si512(tile.as_mut_ptr().add(row * TILE_PAIRS).cast(), pairs);
                        let rounded = [_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64::<1>(pairs)];
                        left = std::array::from_fn(|at| _mm512_sub_ps(left[at], widened(rounded[at])));
                    }
                }
                return;
            }
            let column = |at: usize| vector(at / PAD, at % PAD);
            let mut left: [[__m512; 2]; TILE_PAIRS] =
                std::array::from_fn(|pair| [column(2 * pair), column(2 * pair + 1)]);
            for tile in to.chunks_exact_mut(TILE_SIZE) {
                let mut columns = [_mm512_setzero_si512(); TILE_PAIRS];
                for (pairs, left) in columns.iter_mut().zip(&mut left) {
                    (*pairs, *left) = split(*left);
                }
                transpose(&columns, tile);
            }
        }
    }

    /// Two vectors rounded and put beside each other, and what is left of both.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    pub(in crate::pairs) fn split(numbers: [__m512; 2]) -> (__m512i, [__m512; 2]) {
        // SAFETY: the types of 256 bits differ in name only.
        let rounded = numbers.map(|numbers| unsafe { std::mem::transmute::<_, __m256i>(_mm512_cvtneps_pbh(numbers)) });
        let [even, odd] = rounded.map(|rounded| _mm512_cvtepu16_epi32(rounded));
        let left = std::array::from_fn(|at| _mm512_sub_ps(numbers[at], widened(rounded[at])));
        (_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)), left)
    }

    /// Numbers in bf16 as f32.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn widened(rounded: __m256i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(rounded)))
    }

    /// 16 vectors of pairs to the tile whose columns they are.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transpose(columns: &[__m512i; TILE_PAIRS], tile: &mut [u32]) {
        assert!(tile.len() >= TILE_SIZE);
        // Twos and fours of columns change places within each quarter of the vectors, at last the quarters.
        let twos: [__m512i; 16] = std::array::from_fn(|at| {
            let (a, b) = (columns[at / 2 * 2], columns[at / 2 * 2 + 1]);
            if at % 2 == 0 { _mm512_unpacklo_epi32(a, b) } else { _mm512_unpackhi_epi32(a, b) }
        });
        // `fours[4i + j]` has, in quarter q, row 4q + j of columns 4i to 4i + 3.
        let fours: [__m512i; 16] = std::array::from_fn(|at| {
            let first = at / 4 * 4 + at % 4 / 2;
            let (a, b) = (twos[first], twos[first + 2]);
            if at % 2 == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) }
        });
        let quarters = |a, b, even| {
            if even { _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b) } else { _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b) }
        };
        let halves: [__m512i; 16] = std::array::from_fn(|at| {
            let (j, low) = (at % 4, at / 8 * 8);
            quarters(fours[low + j], fours[low + 4 + j], at % 8 < 4)
        });
        for (row, to) in tile.chunks_exact_mut(PAD).enumerate() {
            let (j, quarter) = (row % 4, row / 4);
            let at = j + quarter % 2 * 4;
            // SAFETY: there is room for 16.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), quarters(halves[at], halves[at + 8], quarter < 2)) };
        }
    }
}
