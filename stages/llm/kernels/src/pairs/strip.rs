use super::{TILE_PAIRS, halves::CHAIN, panels::PANEL};
#[cfg(target_arch = "x86_64")]
use crate::ahead::Asking;
use crate::{Isa, ahead::Ahead, lanes::PAD, weight::TILE};

/// Strips of 16 rows of pairs, each cut into tiles of 16 rows and 16 pairs, and how a product goes through them.
#[derive(Clone, Copy)]
pub(crate) struct PairWalk<'a> {
    pub(crate) pairs: &'a [u32],
    /// What the numbers were divided by; one, unless they are in f16.
    pub(crate) scale: f32,
    /// Tiles of the same numbers, which lie behind each other: the parts of numbers in f32.
    pub(crate) parts: usize,
    /// From a tile, or the first of its parts, to the next of its strip.
    pub(crate) tile: usize,
    /// From a strip to the next.
    pub(crate) strip: usize,
    /// Tiles of a strip, parts counted once.
    pub(crate) count: usize,
}

impl PairWalk<'_> {
    /// Whether all tiles of so many rows are there.
    fn holds(&self, rows: usize) -> bool {
        let Some(strips) = rows.div_ceil(TILE).checked_sub(1) else { return true };
        let Some(tiles) = self.count.checked_sub(1) else { return true };
        self.pairs.len() >= strips * self.strip + tiles * self.tile + self.parts * TILE * TILE_PAIRS
    }
}

/// Strips that are met at a time: with two of them a product of tiles reads each tile of the other side once for both. Parts leave no tiles for
/// the sums of two.
pub(crate) fn strips_at_once(isa: Isa, parts: usize) -> usize {
    if isa.has_tiles() && parts == 1 { 2 } else { 1 }
}

/// Rows of a block of C that is computed in registers, at most.
#[cfg(target_arch = "x86_64")]
const MOST_ROWS: usize = 8;

/// A block of C that is computed in registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct AtOnce {
    pub(super) row: usize,
    /// A power of two.
    pub(super) rows: usize,
    pub(super) panel: usize,
    /// Vectors of 16 tokens.
    pub(super) vectors: usize,
}

/// Calls what computes a block with its rows and vectors, `name::<8, 3>(…)`.
#[cfg(target_arch = "x86_64")]
macro_rules! of_size {
    ($at:ident, $name:ident($($argument:expr),*)) => {
        match ($at.rows, $at.vectors) {
            (8, 3) => $name::<8, 3>($($argument),*),
            (8, 2) => $name::<8, 2>($($argument),*),
            (8, _) => $name::<8, 1>($($argument),*),
            (4, 3) => $name::<4, 3>($($argument),*),
            (4, 2) => $name::<4, 2>($($argument),*),
            (4, _) => $name::<4, 1>($($argument),*),
            (2, 3) => $name::<2, 3>($($argument),*),
            (2, 2) => $name::<2, 2>($($argument),*),
            (2, _) => $name::<2, 1>($($argument),*),
            (_, 3) => $name::<1, 3>($($argument),*),
            (_, 2) => $name::<1, 2>($($argument),*),
            (_, _) => $name::<1, 1>($($argument),*),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use of_size;

/// C (+)= A·B with both sides in pairs, for the rows of some strips.
pub(crate) struct PairStrip<'a> {
    pub(crate) rows: usize,
    pub(crate) a: PairWalk<'a>,
    /// `[parts][tokens / 48][pairs in all][48]`.
    pub(crate) b: &'a [u32],
    /// What the numbers of `b` were divided by where they are in f16, `[tokens / 48][pairs in all / 64][48]`.
    pub(crate) scales: &'a [f32],
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
    pub(crate) next: Ahead<'a>,
}

impl<'a> PairStrip<'a> {
    /// Computes the rows; `isa` must have pairs, and for numbers in parts take those.
    pub(crate) fn run(self, isa: Isa) {
        assert!(isa.has_pairs(), "invariant: pairs are packed only for processors that take them");
        assert!(
            self.a.parts == 1 || isa.multiplies_parts(),
            "invariant: numbers are cut only for processors that take parts"
        );
        assert!(self.c.len() >= self.rows * self.stride && self.stride.is_multiple_of(PAD));
        assert!(self.a.holds(self.rows) && self.first + self.a.count * TILE_PAIRS <= self.deep);
        assert!(self.b.len() >= self.a.parts * self.part_of_b());
        if isa.multiplies_halves() {
            let scales = self.stride.div_ceil(PANEL) * self.deep.div_ceil(CHAIN) * PANEL;
            assert!(self.first.is_multiple_of(CHAIN) && self.scales.len() >= scales);
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, and the lengths are those asserted.
        unsafe {
            let mut strip = self;
            if isa.has_tiles() {
                super::amx::strip(isa, &mut strip);
            } else if isa.multiplies_halves() {
                super::avx512_fp16::strip(&mut strip);
            } else {
                super::avx512::strip(&mut strip);
            }
        }
    }

    /// The blocks of C that are computed in registers, panel by panel.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn blocks(&self) -> impl Iterator<Item = AtOnce> + use<> {
        let (rows, stride) = (self.rows, self.stride);
        (0..stride.div_ceil(PANEL)).flat_map(move |panel| {
            let vectors = (stride - panel * PANEL).min(PANEL) / PAD;
            let mut row = 0;
            std::iter::from_fn(move || {
                // Eight, or what is left by fours, twos and ones.
                let left = (rows - row).min(MOST_ROWS);
                let found = AtOnce { row, rows: 1 << left.checked_ilog2()?, panel, vectors };
                row += found.rows;
                Some(found)
            })
        })
    }

    /// Where the numbers of a block begin, of A, B and C.
    ///
    /// # Safety
    /// The block must be one of [`Self::blocks`].
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn places(&mut self, AtOnce { row, panel, .. }: AtOnce) -> (*const u32, *const u32, *mut f32) {
        // SAFETY: it lies within what the lengths allow.
        unsafe {
            let a = self.a.pairs.as_ptr().add(row / TILE * self.a.strip + row % TILE * TILE_PAIRS);
            let b = self.b.as_ptr().add((panel * self.deep + self.first) * PANEL);
            (a, b, self.c.as_mut_ptr().add(row * self.stride + panel * PANEL))
        }
    }

    /// Where the scales of a panel of B begin; those of a block of features are one behind another.
    ///
    /// # Safety
    /// Products must be in f16, and the panel be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn scales_at(&self, panel: usize) -> *const f32 {
        // SAFETY: the caller says so.
        unsafe { self.scales.as_ptr().add((panel * self.deep.div_ceil(CHAIN) + self.first / CHAIN) * PANEL) }
    }

    /// From a part of B to the next.
    pub(super) fn part_of_b(&self) -> usize {
        self.stride.div_ceil(PANEL) * self.deep * PANEL
    }

    /// A way through all that will be read soon in so many steps.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn asking(&self, steps: usize) -> Asking<'a> {
        self.next.in_steps(steps)
    }
}
