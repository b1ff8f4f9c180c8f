//! Four bits a value: the low nibbles hold the first half of a block, the high nibbles the second.

use super::{Coding, Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// f16 d, 16 bytes: `(q - 8) d`.
pub(crate) struct Q4v0;

impl Layout for Q4v0 {
    const VALUES: usize = 32;
    const BYTES: usize = 18;
    const CODING: Coding = Coding { bits: 4, zero: 8, levels: None, run: None, offset: false };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let d = half_at(block, 0);
        look_up.widen(Self::codes(block, group)).map(|q| (q - 8.0) * d)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        nibbles(part(block, 2), 4 * group)
    }
}

/// f16 d, f16 m, 16 bytes: `q d + m`.
pub(crate) struct Q4v1;

impl Layout for Q4v1 {
    const VALUES: usize = 32;
    const BYTES: usize = 20;
    const CODING: Coding = Coding { bits: 4, zero: 0, levels: None, run: None, offset: true };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let (d, m) = (half_at(block, 0), half_at(block, 2));
        look_up.widen(Self::codes(block, group)).map(|q| q * d + m)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        nibbles(part(block, 4), 4 * group)
    }

    #[inline(always)]
    fn offset(block: &[u8], _group: usize) -> (f32, i8) {
        (half_at(block, 2), 1)
    }
}
