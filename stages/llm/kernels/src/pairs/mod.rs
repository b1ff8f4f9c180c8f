//! Products of numbers in bf16, which lie in pairs; the sums are in f32. Weights in bf16 are multiplied so, with the other side rounded, and
//! where tiles are multiplied also those in f32, with both sides cut into parts. Where f16 is faster, pairs in bf16 become pairs in that.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_fp16;
mod halves;
mod pack;
mod panels;
mod split;
mod strip;
mod widen;

pub(crate) use halves::{Narrowing, narrow};
pub use panels::Panels;
pub(crate) use panels::{Filling, InPairs, PANEL, Packed};
pub(crate) use split::{Block, Lies, PARTS, fill};
pub(crate) use strip::{PairStrip, PairWalk, strips_at_once};
pub(crate) use widen::{PairColumn, Round, widen, widen_across};

/// Pairs that a row of a tile has, and rows of pairs that it meets. Rows of both sides are padded to whole tiles.
pub(crate) const TILE_PAIRS: usize = 16;
