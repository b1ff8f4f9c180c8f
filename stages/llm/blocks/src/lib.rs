//! Numbers packed in blocks: the layouts of ggml (`ggml-common.h`, decoded as `ggml-quants.c` does) and of bitsandbytes' NF4.
//!
//! One [`Layout`] says how sixteen numbers in a row come out of a block; everything else follows from it. It is plain
//! code over fixed sizes, so that a kernel which turns a processor's vector instructions on gets it compiled with them.
//! A matrix is packed row by row, each row in whole blocks.

mod format;
mod layouts;
mod planes;
mod quantize;

pub use format::{BlockFormat, VisitLayout};
pub use layouts::{Coding, Layout, LookUp, NF4_CODE, PlainLookUp};
pub use planes::{Plane, Planes, STEP_ZERO, Steps};
pub use quantize::{nf4_block, quantize};

/// Numbers that one call of [`Layout::group`] unpacks; divides the size of every block.
pub const GROUP: usize = 16;

#[cfg(test)]
mod tests;
