//! Super-blocks of 256 values in eight runs of 32; each run has a six-bit scale and a six-bit minimum.

use super::{Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// Scale and minimum of run `j`: 12 bytes hold eight pairs of six bits (`get_scale_min_k4`).
#[inline(always)]
fn scale_and_minimum(packed: &[u8; 12], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

/// `d · scale` and `dmin · minimum` of run `j`.
#[inline(always)]
fn scales(block: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = scale_and_minimum(part(block, 4), j);
    (half_at(block, 0) * scale, half_at(block, 2) * minimum)
}

/// f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes: `d scale q - dmin minimum`.
/// Every 32 bytes hold one run in the low nibbles and the next in the high ones.
pub(crate) struct Q4K;

impl Layout for Q4K {
    const VALUES: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    fn group(block: &[u8], group: usize, _: impl LookUp) -> [f32; GROUP] {
        let (run, half) = (group / 2, group % 2);
        let (scale, minimum) = scales(block, run);
        let q = nibbles(part(block, 16 + run / 2 * 32 + half * GROUP), run % 2 * 4);
        q.map(|q| scale * f32::from(q) - minimum)
    }
}

/// As [`Q4K`] with a fifth bit for each value: bit `run` of 32 bytes between the scales and the nibbles.
pub(crate) struct Q5K;

impl Layout for Q5K {
    const VALUES: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    fn group(block: &[u8], group: usize, _: impl LookUp) -> [f32; GROUP] {
        let (run, half) = (group / 2, group % 2);
        let (scale, minimum) = scales(block, run);
        let fifth: &[u8; GROUP] = part(block, 16 + half * GROUP);
        let low = nibbles(part(block, 48 + run / 2 * 32 + half * GROUP), run % 2 * 4);
        std::array::from_fn(|i| scale * f32::from(low[i] | (fifth[i] >> run & 1) << 4) - minimum)
    }
}
