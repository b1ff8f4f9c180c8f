//! Five bits a value: nibbles as in the four-bit formats, the fifth bits in one little-endian word.

use super::{Coding, Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// The codes of a group; its fifth bits are the low or the high half of the word at `at`, its nibbles lie after that.
#[inline(always)]
fn five_bits(block: &[u8], at: usize, group: usize) -> [u8; GROUP] {
    let bits = u32::from_le_bytes(*part(block, at)) >> (GROUP * group);
    let low = nibbles(part(block, at + 4), 4 * group);
    std::array::from_fn(|i| low[i] | ((bits >> i & 1) << 4) as u8)
}

/// f16 d, u32 fifth bits, 16 bytes: `(q - 16) d`.
pub(crate) struct Q5v0;

impl Layout for Q5v0 {
    const VALUES: usize = 32;
    const BYTES: usize = 22;
    const CODING: Coding = Coding { bits: 5, zero: 16, levels: None, run: None, offset: false };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let d = half_at(block, 0);
        look_up.widen(Self::codes(block, group)).map(|q| (q - 16.0) * d)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        five_bits(block, 2, group)
    }
}

/// f16 d, f16 m, u32 fifth bits, 16 bytes: `q d + m`.
pub(crate) struct Q5v1;

impl Layout for Q5v1 {
    const VALUES: usize = 32;
    const BYTES: usize = 24;
    const CODING: Coding = Coding { bits: 5, zero: 0, levels: None, run: None, offset: true };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let (d, m) = (half_at(block, 0), half_at(block, 2));
        look_up.widen(Self::codes(block, group)).map(|q| q * d + m)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        five_bits(block, 4, group)
    }

    #[inline(always)]
    fn offset(block: &[u8], _group: usize) -> (f32, i8) {
        (half_at(block, 2), 1)
    }
}
