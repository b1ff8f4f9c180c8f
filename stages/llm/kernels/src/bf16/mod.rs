//! Products with weights in bf16: both sides are rounded and lie in pairs, the sums are in f32.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod panels;
mod strip;

pub(crate) use pack::{pair_up, transpose};
pub use panels::Bf16Panels;
pub(crate) use panels::{PANEL, Packed};
pub(crate) use strip::{PairStrip, PairWalk};

/// Pairs that a row of a tile has, and rows of pairs that it meets. Rows of both sides are padded to whole tiles.
pub(crate) const TILE_PAIRS: usize = 16;
