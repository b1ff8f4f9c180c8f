use bytemuck::{Pod, Zeroable};

use crate::lanes::PAD;

/// One cache line, so that vectors, and rows of tiles, never lie across two.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; PAD]);

impl Line {
    pub(crate) const ZERO: Self = Self([0.0; PAD]);
}

// SAFETY: an array of floats of the size of its alignment: any bits are a value, and there is no padding.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}
