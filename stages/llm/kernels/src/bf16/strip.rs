use super::{TILE_PAIRS, panels::PANEL};
use crate::{Isa, lanes::PAD, weight::TILE};

/// Strips of 16 rows of pairs, each cut into tiles of 16 rows and 16 pairs, and how a product goes through them.
#[derive(Clone, Copy)]
pub(crate) struct PairWalk<'a> {
    pub(crate) pairs: &'a [u32],
    /// From a row of a tile to the next.
    pub(crate) row: usize,
    /// From a tile to the next of its strip.
    pub(crate) tile: usize,
    /// From a strip to the next.
    pub(crate) strip: usize,
    /// Tiles of a strip.
    pub(crate) count: usize,
}

impl PairWalk<'_> {
    /// Whether all tiles of so many rows are there.
    fn holds(&self, rows: usize) -> bool {
        let Some(strips) = rows.div_ceil(TILE).checked_sub(1) else { return true };
        let Some(tiles) = self.count.checked_sub(1) else { return true };
        self.pairs.len() >= strips * self.strip + tiles * self.tile + (TILE - 1) * self.row + TILE_PAIRS
    }
}

/// C (+)= A·B with both sides in pairs of bf16, for the rows of some strips.
pub(crate) struct PairStrip<'a> {
    pub(crate) rows: usize,
    pub(crate) a: PairWalk<'a>,
    /// `[tokens / 48][pairs in all][48]`.
    pub(crate) b: &'a [u32],
    /// Pairs in a panel of `b`.
    pub(crate) deep: usize,
    /// First pair of `b` that meets the first of `a`.
    pub(crate) first: usize,
    /// `rows` rows of `stride` numbers.
    pub(crate) c: &'a mut [f32],
    pub(crate) stride: usize,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other processor computes such strips yet"))]
    pub(crate) accumulate: bool,
    /// What will be read of the left side after `a`; it is asked for meanwhile.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other processor computes such strips yet"))]
    pub(crate) next: Option<PairWalk<'a>>,
}

impl<'a> PairStrip<'a> {
    /// What will be read next in about as many parts as this is computed in.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn ahead(&self, parts: usize) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let strips = self.rows.div_ceil(TILE).max(1);
        let of_strip = (parts / strips).max(1);
        self.next.into_iter().flat_map(move |PairWalk { pairs, tile, strip, count, .. }| {
            let strips = (0..strips).filter_map(move |at| pairs.get(at * strip..at * strip + count * tile));
            strips.flat_map(move |strip| strip.chunks((strip.len() / PAD).div_ceil(of_strip).max(1) * PAD))
        })
    }

    /// Computes the rows; `isa` must have bf16.
    pub(crate) fn run(self, isa: Isa) {
        assert!(isa.has_bf16(), "invariant: pairs are packed only for processors that take them");
        assert!(self.c.len() >= self.rows * self.stride && self.stride.is_multiple_of(PAD));
        assert!(self.a.holds(self.rows) && self.first + self.a.count * TILE_PAIRS <= self.deep);
        assert!(self.b.len() >= self.stride.div_ceil(PANEL) * self.deep * PANEL);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, and the lengths are those asserted.
        unsafe {
            if isa.has_tiles() { super::amx::strip(&self) } else { super::avx512::strip(self) }
        }
    }
}
