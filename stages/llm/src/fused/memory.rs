use refit_kernels::Lanes;

use super::{
    block::{Scratch, Tape},
    head::HeadBuffers,
};

/// Buffers of a pass, kept for the next: taking fresh memory for each would cost more than some of its products.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// One for each block in training, one in all for losses alone.
    pub(super) tapes: Vec<Tape>,
    /// In training, of the block that is computed now, if its own keeps its input only.
    pub(super) passing: Tape,
    pub(super) scratch: Scratch,
    pub(super) head: HeadBuffers,
    /// The output of the last block.
    pub(super) last: Lanes,
    pub(super) normed: Lanes,
    /// The gradient on its way down.
    pub(super) d: Lanes,
    pub(super) d_normed: Lanes,
    /// Whether each block leaves its input only and is computed again on the way back.
    pub(super) checkpointing: bool,
}

impl Memory {
    /// Buffers for passes that keep each block's input only, or all that the way back reads.
    pub(crate) fn new(checkpointing: bool) -> Self {
        Self { checkpointing, ..Self::default() }
    }

    /// Whether blocks leave their input only.
    pub(crate) fn checkpointing(&self) -> bool {
        self.checkpointing
    }

    /// Where the hidden states before the first block go in a pass without a way back.
    pub(super) fn input(&mut self) -> &mut Lanes {
        if self.tapes.is_empty() {
            self.tapes.push(Tape::default());
        }
        &mut self.tapes[0].x
    }
}
