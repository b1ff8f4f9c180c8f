//! Super-blocks of 256 values in eight runs of 32; each run has a six-bit scale and a six-bit minimum.

use super::{Coding, Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// Scale and minimum of run `j`: 12 bytes hold eight pairs of six bits (`get_scale_min_k4`).
#[inline(always)]
fn scale_and_minimum(packed: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    }
}

/// The numbers of a group from its codes: `d · scale` and `dmin · minimum` are those of its run.
#[inline(always)]
fn scaled(block: &[u8], group: usize, codes: [f32; GROUP]) -> [f32; GROUP] {
    let (scale, minimum) = scale_and_minimum(part(block, 4), group / 2);
    let (scale, minimum) = (half_at(block, 0) * f32::from(scale), half_at(block, 2) * f32::from(minimum));
    codes.map(|q| scale * q - minimum)
}

/// The parts of `d · scale` for a group.
#[inline(always)]
fn scale(block: &[u8], group: usize) -> (f32, i8) {
    (half_at(block, 0), scale_and_minimum(part(block, 4), group / 2).0 as i8)
}

/// The parts of `−dmin · minimum` for a group.
#[inline(always)]
fn offset(block: &[u8], group: usize) -> (f32, i8) {
    (-half_at(block, 2), scale_and_minimum(part(block, 4), group / 2).1 as i8)
}

/// f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes: `d scale q - dmin minimum`.
/// Every 32 bytes hold one run in the low nibbles and the next in the high ones.
pub(crate) struct Q4K;

impl Layout for Q4K {
    const VALUES: usize = 256;
    const BYTES: usize = 144;
    const CODING: Coding = Coding { bits: 4, zero: 0, levels: None, run: Some(2 * GROUP), offset: true };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        scaled(block, group, look_up.widen(Self::codes(block, group)))
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        let (run, half) = (group / 2, group % 2);
        nibbles(part(block, 16 + run / 2 * 32 + half * GROUP), run % 2 * 4)
    }

    #[inline(always)]
    fn scale(block: &[u8], group: usize) -> (f32, i8) {
        scale(block, group)
    }

    #[inline(always)]
    fn offset(block: &[u8], group: usize) -> (f32, i8) {
        offset(block, group)
    }
}

/// As [`Q4K`] with a fifth bit for each value: bit `run` of 32 bytes between the scales and the nibbles.
pub(crate) struct Q5K;

impl Layout for Q5K {
    const VALUES: usize = 256;
    const BYTES: usize = 176;
    const CODING: Coding = Coding { bits: 5, ..Q4K::CODING };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        scaled(block, group, look_up.widen(Self::codes(block, group)))
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        let (run, half) = (group / 2, group % 2);
        let fifth: &[u8; GROUP] = part(block, 16 + half * GROUP);
        let low = nibbles(part(block, 48 + run / 2 * 32 + half * GROUP), run % 2 * 4);
        std::array::from_fn(|i| low[i] | (fifth[i] >> run & 1) << 4)
    }

    #[inline(always)]
    fn scale(block: &[u8], group: usize) -> (f32, i8) {
        scale(block, group)
    }

    #[inline(always)]
    fn offset(block: &[u8], group: usize) -> (f32, i8) {
        offset(block, group)
    }
}
