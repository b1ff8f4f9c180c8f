//! Numbers in bf16 where no instruction takes pairs of them: they are f32 that happen to be short.

use super::{PairWalk, TILE_PAIRS};
use crate::{
    Isa,
    lanes::PAD,
    simd::{Kernel, Simd},
    weight::TILE,
};

/// The 16 rows of a strip in f32, row by row; from a row to the next.
pub(crate) fn widen(isa: Isa, strip: PairWalk<'_>, to: &mut Vec<f32>) -> usize {
    // Rows a power of two apart would meet in the same places of the cache.
    let stride = 2 * TILE_PAIRS * strip.count + 2 * PAD;
    to.resize(TILE * stride, 0.0);
    isa.run(Widen { strip, to, stride });
    stride
}

struct Widen<'a> {
    strip: PairWalk<'a>,
    to: &'a mut [f32],
    stride: usize,
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { strip, to, stride } = self;
        for (row, to) in to.chunks_exact_mut(stride).enumerate() {
            for (tile, to) in to.chunks_exact_mut(2 * TILE_PAIRS).take(strip.count).enumerate() {
                let pairs = &strip.pairs[tile * strip.tile + row * TILE_PAIRS..][..TILE_PAIRS];
                widen_pairs(pairs, to);
            }
        }
    }
}

/// The same 8 pairs of some rows of a weight, from the first on: tiles that lie below each other, so far apart.
pub(crate) struct PairColumn<'a> {
    pub(crate) pairs: &'a [u32],
    pub(crate) across: usize,
    pub(crate) rows: usize,
}

/// The 16 columns of these pairs in f32, row by row: a strip of the transposed weight, column by column.
pub(crate) fn widen_across(isa: Isa, column: PairColumn<'_>, to: &mut Vec<f32>) {
    let needed = TILE * column.rows;
    if to.len() < needed {
        to.resize(needed, 0.0);
    }
    isa.run(WidenAcross { column, to: &mut to[..needed] });
}

struct WidenAcross<'a> {
    column: PairColumn<'a>,
    to: &'a mut [f32],
}

impl Kernel for WidenAcross<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { column: PairColumn { pairs, across, .. }, to } = self;
        for (row, to) in to.chunks_exact_mut(TILE).enumerate() {
            let pairs = &pairs[row / TILE * across + row % TILE * TILE_PAIRS..][..TILE / 2];
            widen_pairs(pairs, to);
        }
    }
}

#[inline(always)]
fn widen_pairs(pairs: &[u32], to: &mut [f32]) {
    for (to, pair) in to.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
        *to = [pair << 16, pair & 0xffff_0000].map(f32::from_bits);
    }
}

/// Rounds numbers to bf16.
pub(crate) struct Round<'a>(pub(crate) &'a mut [f32]);

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.iter_mut().for_each(|value| *value = rounded(*value));
    }
}

/// To the nearest number in bf16, of two as near to the even one; what is no number stays none.
#[inline(always)]
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    f32::from_bits(if value.is_nan() { bits | 0x0040_0000 } else { nearest } & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_rounded_as_elsewhere(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assert_eq!(rounded(value).to_bits(), bf16::from_f32(value).to_f32().to_bits());
        }
    }

    #[test]
    fn ties_and_the_ends_of_the_range_are_rounded_as_elsewhere() {
        for bits in [
            0,
            0x8000_0000,
            0x3f80_8000,
            0x3f81_8000,
            0x3f80_7fff,
            0x3f80_8001,
            0x7f7f_ffff,
            0x7f80_0000,
            1,
            0x7fc0_0000,
            0x7f80_0001,
        ] {
            let value = f32::from_bits(bits);
            assert_eq!(rounded(value).to_bits(), bf16::from_f32(value).to_f32().to_bits(), "{bits:x}");
        }
    }
}
