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

/// Makes room for so many lines, with whatever numbers are there. Room that is too small is given back first: growing it would hold both at a time,
/// and of the logits each is as large as a part of the model.
pub(crate) fn make_room(lines: &mut Vec<Line>, count: usize) {
    if lines.len() < count {
        *lines = Vec::new();
        lines.resize(count, Line::ZERO);
    }
}
