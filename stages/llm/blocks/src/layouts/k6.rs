use super::{Coding, Layout, LookUp, half_at, nibbles, part};
use crate::GROUP;

/// Super-blocks of 256 values in sixteen groups: 128 bytes of low nibbles, 64 bytes of two high bits, 16 signed scales,
/// f16 d: `d scale (q - 32)`. Each half of 128 values interleaves four runs of 32.
pub(crate) struct Q6K;

impl Layout for Q6K {
    const VALUES: usize = 256;
    const BYTES: usize = 210;
    const CODING: Coding = Coding { bits: 6, zero: 32, levels: None, run: Some(GROUP), offset: false };

    #[inline(always)]
    fn group(block: &[u8], group: usize, look_up: impl LookUp) -> [f32; GROUP] {
        let scale = half_at(block, 208) * f32::from(block[192 + group] as i8);
        look_up.widen(Self::codes(block, group)).map(|q| scale * (q - 32.0))
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        let (half, run, offset) = (group / 8, group % 8 / 2, group % 2 * GROUP);
        let low = nibbles(part(block, half * 64 + run % 2 * 32 + offset), run / 2 * 4);
        let high: &[u8; GROUP] = part(block, 128 + half * 32 + offset);
        std::array::from_fn(|i| low[i] | (high[i] >> (2 * run) & 3) << 4)
    }

    #[inline(always)]
    fn scale(block: &[u8], group: usize) -> (f32, i8) {
        (half_at(block, 208), block[192 + group] as i8)
    }
}
