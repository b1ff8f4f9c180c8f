use super::{Coding, Layout, LookUp, half_at, part};
use crate::GROUP;

/// f16 d, 32 signed bytes: `q d`.
pub(crate) struct Q8v0;

impl Layout for Q8v0 {
    const VALUES: usize = 32;
    const BYTES: usize = 34;
    const CODING: Coding = Coding { bits: 8, zero: 128, levels: None, run: None, offset: false };

    #[inline(always)]
    fn group(block: &[u8], group: usize, _: impl LookUp) -> [f32; GROUP] {
        let d = half_at(block, 0);
        part::<GROUP>(block, 2 + GROUP * group).map(|q| f32::from(q as i8) * d)
    }

    #[inline(always)]
    fn codes(block: &[u8], group: usize) -> [u8; GROUP] {
        part::<GROUP>(block, 2 + GROUP * group).map(|q| q ^ 0x80)
    }
}
