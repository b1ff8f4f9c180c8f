//! Four bits a value: the low nibbles hold the first half of a block, the high nibbles the second.

use super::{Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// f16 d, 16 bytes: `(q - 8) d`.
pub(crate) struct Q4v0;

impl Layout for Q4v0 {
    const VALUES: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn group(block: &[u8], group: usize, _: impl LookUp) -> [f32; GROUP] {
        let d = half_at(block, 0);
        nibbles(part(block, 2), 4 * group).map(|q| (f32::from(q) - 8.0) * d)
    }
}

/// f16 d, f16 m, 16 bytes: `q d + m`.
pub(crate) struct Q4v1;

impl Layout for Q4v1 {
    const VALUES: usize = 32;
    const BYTES: usize = 20;

    #[inline(always)]
    fn group(block: &[u8], group: usize, _: impl LookUp) -> [f32; GROUP] {
        let (d, m) = (half_at(block, 0), half_at(block, 2));
        nibbles(part(block, 4), 4 * group).map(|q| f32::from(q) * d + m)
    }
}
