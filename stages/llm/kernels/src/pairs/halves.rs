//! Numbers in f16, those that are multiplied together with a power of two of their own.
//!
//! f16 has three bits more than bf16 and a small range, so numbers are brought into it: those of a strip of a weight by what its largest needs,
//! those of a token by what its largest in a block of features needs. Sums are multiplied by both powers when they go on in f32.

use super::panels::PANEL;
use crate::{Isa, lanes::PAD, reading::BLOCK};

/// Pairs whose products are added up in f16, those of a block of features. Rounding the 64 sums of either half of a pair costs less
/// than rounding the activations to bf16 does.
pub(crate) const CHAIN: usize = BLOCK / 2;

/// Numbers of a weight are brought below two to this power.
const MOST_LEFT: u32 = 5;
/// Activations are brought below two to this power: all products of a chain together stay below 2¹⁵.
const MOST_RIGHT: u32 = 3;

/// The exponent, in f32 and bf16, of what is no number.
const NO_NUMBER: u32 = 255;
/// The least that counts as the exponent of the largest number. Beyond, both powers of two together would leave the range of f32.
const LEAST: u32 = 80;
/// Digits behind the first of a number in bf16, and how many more f16 has.
const BF16_DIGITS: u32 = 7;
const MORE_DIGITS: u32 = 3;
/// All bits but the sign.
const SIZE: u16 = 0x7fff;
/// The exponent of one in f16.
const ONE_IN_F16: u32 = 15;

/// What numbers are divided by so that the largest, which has this exponent, comes to lie below two to the power of `most`.
fn scale(exponent: u32, most: u32) -> f32 {
    if exponent == NO_NUMBER { f32::NAN } else { f32::from_bits((exponent.max(LEAST) + 1 - most) << 23) }
}

/// How the numbers of a strip of a weight in bf16 became ones in f16: their exponents changed, and those smaller than 2⁻¹⁸ of the largest are zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrowing {
    /// Of the largest number, in bf16.
    exponent: u32,
}

impl Narrowing {
    /// What sums of products are multiplied by.
    pub(crate) fn scale(self) -> f32 {
        scale(self.exponent, MOST_LEFT)
    }

    /// By how much the bits of a number became less.
    fn less(self) -> u16 {
        ((self.exponent.max(LEAST) - (MOST_LEFT - 1 + ONE_IN_F16)) << BF16_DIGITS) as u16
    }

    /// The bits in bf16 that those of a number in f16 were made of.
    pub(crate) fn undo(self, bits: u16) -> u16 {
        let size = match bits & SIZE {
            0 => 0,
            size => (size >> MORE_DIGITS) + self.less(),
        };
        size | bits & !SIZE
    }
}

/// Makes pairs in f16 of those of a strip in bf16; `isa` must multiply halves.
pub(crate) fn narrow(isa: Isa, strip: &mut [u32]) -> Narrowing {
    assert!(isa.multiplies_halves(), "invariant: halves are made only for processors that multiply them");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a processor with AVX512-FP16 has AVX512-BW.
    return unsafe { x86::narrow(strip) };
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("no other processor multiplies halves yet: {} pairs", strip.len())
}

/// Puts each two rows of a block of features beside each other, in each panel at the place that `to` has for them, and what the tokens were divided by
/// at that of `scales`; `isa` must multiply halves. Places beyond the rows become zero.
pub(super) fn pack_rows(isa: Isa, rows: &[f32], stride: usize, to: &mut [&mut [u32]], scales: &mut [&mut [f32]]) {
    assert!(isa.multiplies_halves() && stride.is_multiple_of(PAD) && rows.len().is_multiple_of(stride));
    assert!(to.len() == stride.div_ceil(PANEL) && scales.len() == to.len());
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: a processor with AVX512-FP16 has AVX-512F.
        let largest = unsafe { x86::largest(rows, stride) };
        let by: Vec<f32> = largest.iter().map(|bits| scale(bits >> 23, MOST_RIGHT)).collect();
        for (scales, by) in scales.iter_mut().zip(by.chunks(PANEL)) {
            scales[..by.len()].copy_from_slice(by);
        }
        let by: Vec<f32> = by.into_iter().map(f32::recip).collect();
        // SAFETY: as above.
        unsafe { x86::pack_rows(rows, &by, to) };
    }
    let filled = rows.len().div_ceil(2 * stride) * PANEL;
    for to in to {
        to[filled..].fill(0);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _MM_FROUND_TO_NEAREST_INT, _mm512_and_si512, _mm512_castps_si512, _mm512_cvtepu16_epi32,
        _mm512_cvtps_ph, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_max_epi32, _mm512_max_epu16, _mm512_mul_ps,
        _mm512_or_si512, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi16,
        _mm512_slli_epi32, _mm512_storeu_si512, _mm512_subs_epu16,
    };

    use super::{BF16_DIGITS, MORE_DIGITS, Narrowing, PAD, PANEL};
    use crate::pairs::pack::x86::ask_for_pair;

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn narrow(strip: &mut [u32]) -> Narrowing {
        assert!(strip.len().is_multiple_of(2 * PAD));
        // SAFETY: each is of 16.
        let read = |pairs: &[u32]| unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) };
        // SAFETY: as above.
        let write = |to: &mut [u32], pairs| unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
        let size = _mm512_set1_epi16(i16::MAX);
        let mut largest = [_mm512_setzero_si512(); 2];
        for two in strip.chunks_exact(2 * PAD) {
            for (largest, pairs) in largest.iter_mut().zip(two.chunks_exact(PAD)) {
                *largest = _mm512_max_epu16(*largest, _mm512_and_si512(read(pairs), size));
            }
        }
        let mut found = [0u32; PAD];
        write(&mut found, _mm512_max_epu16(largest[0], largest[1]));
        let largest = found.iter().map(|pair| (pair & 0xffff).max(pair >> 16)).fold(0, u32::max);

        let narrowing = Narrowing { exponent: largest >> BF16_DIGITS };
        let less = _mm512_set1_epi16(narrowing.less() as i16);
        let sign = _mm512_set1_epi16(i16::MIN);
        for to in strip.chunks_exact_mut(PAD) {
            let pairs = read(to);
            let sizes = _mm512_slli_epi16::<MORE_DIGITS>(_mm512_subs_epu16(_mm512_and_si512(pairs, size), less));
            write(to, _mm512_or_si512(sizes, _mm512_and_si512(pairs, sign)));
        }
        narrowing
    }

    /// Bits of the size of the largest number of each token.
    #[target_feature(enable = "avx512f")]
    pub(super) fn largest(rows: &[f32], stride: usize) -> Vec<u32> {
        let size = _mm512_set1_epi32(i32::MAX);
        let mut found = vec![0u32; stride];
        for pair in rows.chunks(2 * stride) {
            ask_for_pair(pair, stride);
            for row in pair.chunks_exact(stride) {
                for (largest, numbers) in found.chunks_exact_mut(PAD).zip(row.chunks_exact(PAD)) {
                    // SAFETY: both are of 16.
                    unsafe {
                        let numbers = _mm512_castps_si512(_mm512_loadu_ps(numbers.as_ptr()));
                        let before = _mm512_loadu_si512(largest.as_ptr().cast());
                        let largest = largest.as_mut_ptr().cast();
                        _mm512_storeu_si512(largest, _mm512_max_epi32(before, _mm512_and_si512(numbers, size)));
                    }
                }
            }
        }
        found
    }

    /// The same as [`super::pack_rows`], with what the numbers of each token are multiplied by.
    #[target_feature(enable = "avx512f")]
    pub(super) fn pack_rows(rows: &[f32], by: &[f32], to: &mut [&mut [u32]]) {
        let stride = by.len();
        let zeros = [0.0; PAD];
        for (pair, rows) in rows.chunks(2 * stride).enumerate() {
            let (even, odd) = rows.split_at(stride);
            for (panel, to) in to.iter_mut().enumerate() {
                let first = panel * PANEL;
                let filled = (stride - first).min(PANEL);
                let to = &mut to[pair * PANEL..(pair + 1) * PANEL];
                for at in (0..filled).step_by(PAD) {
                    let tokens = first + at..first + at + PAD;
                    let rows = [&even[tokens.clone()], odd.get(tokens.clone()).unwrap_or(&zeros)];
                    let by = &by[tokens];
                    let to = &mut to[at..at + PAD];
                    // SAFETY: all are of 16.
                    unsafe {
                        let by = _mm512_loadu_ps(by.as_ptr());
                        let [even, odd]: [__m512i; 2] = rows.map(|row| {
                            let numbers = _mm512_mul_ps(_mm512_loadu_ps(row.as_ptr()), by);
                            _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(numbers))
                        });
                        let pairs = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
                        _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
                    }
                }
                to[filled..].fill(0);
            }
        }
    }
}
