//! Products of tiles (AMX): 16 rows of 16 pairs meet 16 rows of 16 pairs in one instruction.
//!
//! Its instructions have no stable functions yet, so they are written as they are. The compiler hands out no tiles by itself: they
//! keep what these lines put into them.

use std::arch::asm;

use super::{PARTS, PairStrip, TILE_PAIRS, panels::PANEL, strip::strips_at_once};
use crate::{
    Isa,
    ahead::Asking,
    lanes::PAD,
    weight::{TILE, TILE_SIZE},
};

/// Bytes of a row of a tile.
const ROW_BYTES: u16 = 64;

/// Fills a tile with zeros.
macro_rules! zero {
    ($tile:literal) => {
        asm!(concat!("tilezero tmm", $tile), options(nostack, nomem, preserves_flags))
    };
}

/// Reads a tile whose rows lie so many bytes apart.
macro_rules! load {
    ($tile:literal, $from:expr, $row:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{} + {}]"), in(reg) $from, in(reg) $row, options(nostack, readonly, preserves_flags))
    };
}

/// Writes a tile whose rows lie so many bytes apart.
macro_rules! store {
    ($tile:literal, $to:expr, $row:expr) => {
        asm!(concat!("tilestored [{} + {}], tmm", $tile), in(reg) $to, in(reg) $row, options(nostack, preserves_flags))
    };
}

/// Adds to a tile what another makes with tile 7.
macro_rules! add_product {
    ($sum:literal, $left:literal) => {
        asm!(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm7"), options(nostack, nomem, preserves_flags))
    };
}

/// What the tiles of a thread look like: 0 to 6 are sums or of the left side, 7 is of the right.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The tiles of this thread have a shape for as long as this lives.
struct Configured;

impl Configured {
    /// # Safety
    /// The processor must have AMX, the process be allowed to use it, and `rows` be 1 to 16.
    unsafe fn for_rows(rows: usize) -> Self {
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(ROW_BYTES);
        config.rows[..7].fill(rows as u8);
        config.rows[7] = TILE_PAIRS as u8;
        // SAFETY: the caller says that it may, and the instruction reads the 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) };
        Self
    }
}

impl Drop for Configured {
    /// A thread whose tiles are in use is dearer to switch to and from.
    fn drop(&mut self) {
        // SAFETY: a value exists only where the processor has AMX.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// # Safety
/// The lengths must be those that [`PairStrip::run`] asserts, the processor must have AMX, and the process be allowed to use it.
pub(super) unsafe fn strip(isa: Isa, strip: &mut PairStrip<'_>) {
    let c = strip.c.as_mut_ptr();
    let strip = &*strip;
    let whole = strip.rows / TILE * TILE;
    let at_once = strips_at_once(isa, strip.a.parts);
    let blocks = strip.stride.div_ceil(PANEL) * strip.rows.div_ceil(at_once * TILE);
    let mut asking = strip.asking(blocks * strip.a.count);
    // SAFETY: all strips are there, and what is left of the last has tiles of its own shape.
    unsafe {
        if whole > 0 {
            let _tiles = Configured::for_rows(TILE);
            for row in (0..whole).step_by(at_once * TILE) {
                rows(strip, c, row, at_once.min((whole - row) / TILE), &mut asking);
            }
        }
        if whole < strip.rows {
            let _tiles = Configured::for_rows(strip.rows - whole);
            rows(strip, c, whole, 1, &mut asking);
        }
    }
}

/// One strip, or two at a time, from a row on, to its place in the rows of `c`.
///
/// # Safety
/// They have to be there, and the tiles be of so many rows.
unsafe fn rows(strip: &PairStrip<'_>, c: *mut f32, row: usize, strips: usize, asking: &mut Asking<'_>) {
    for (panel, column) in (0..strip.stride).step_by(PANEL).enumerate() {
        let vectors = (strip.stride - column).min(PANEL) / PAD;
        // SAFETY: the caller says so.
        unsafe {
            let a = strip.a.pairs.as_ptr().add(row / TILE * strip.a.strip);
            let b = strip.b.as_ptr().add((panel * strip.deep + strip.first) * PANEL);
            let c = c.add(row * strip.stride + column);
            match (strip.a.parts, strips, vectors) {
                (1, 2, 3) => block::<2, 3, 1>(strip, asking, a, b, c),
                (1, 2, 2) => block::<2, 2, 1>(strip, asking, a, b, c),
                (1, 2, _) => block::<2, 1, 1>(strip, asking, a, b, c),
                (1, _, 3) => block::<1, 3, 1>(strip, asking, a, b, c),
                (1, _, 2) => block::<1, 2, 1>(strip, asking, a, b, c),
                (1, ..) => block::<1, 1, 1>(strip, asking, a, b, c),
                (_, _, 3) => block::<1, 3, PARTS>(strip, asking, a, b, c),
                (_, _, 2) => block::<1, 2, PARTS>(strip, asking, a, b, c),
                _ => block::<1, 1, PARTS>(strip, asking, a, b, c),
            }
        }
    }
}

/// Bytes from a row of a tile of the left side to the next, and of the right.
const A_ROW: usize = 4 * TILE_PAIRS;
const B_ROW: usize = 4 * PANEL;

/// Does the same with the tiles of the sums of one strip, which are 0 to 2, and of another, 3 to 5: `load`, `store` or `clear`.
macro_rules! sums {
    ($each:ident, $strips:ident, $vectors:ident, $c:ident, $stride:ident) => {
        let (row, below) = (4 * $stride, $c.wrapping_add(TILE * $stride));
        $each!("0", $c, row);
        if $vectors > 1 {
            $each!("1", $c.add(PAD), row);
        }
        if $vectors > 2 {
            $each!("2", $c.add(2 * PAD), row);
        }
        if $strips > 1 {
            $each!("3", below, row);
            if $vectors > 1 {
                $each!("4", below.add(PAD), row);
            }
            if $vectors > 2 {
                $each!("5", below.add(2 * PAD), row);
            }
        }
    };
}

/// `zero`, with the arguments of `load`.
macro_rules! clear {
    ($tile:literal, $c:expr, $row:expr) => {
        let _ = ($c, $row);
        zero!($tile);
    };
}

/// Some tiles of C: with parts those of one strip, else those of one or two.
///
/// # Safety
/// All of it has to be there, and the tiles be of so many rows.
#[inline]
unsafe fn block<const STRIPS: usize, const VECTORS: usize, const PARTS: usize>(
    strip: &PairStrip<'_>,
    asking: &mut Asking<'_>,
    mut a: *const u32,
    mut b: *const u32,
    c: *mut f32,
) {
    let PairStrip { a: walk, stride, accumulate, .. } = strip;
    // SAFETY: the caller says so.
    unsafe {
        if *accumulate {
            sums!(load, STRIPS, VECTORS, c, stride);
        } else {
            sums!(clear, STRIPS, VECTORS, c, stride);
        }
        for _ in 0..walk.count {
            asking.go_on();
            if PARTS == 1 {
                add_whole::<STRIPS, VECTORS>(a, walk.strip, b);
            } else {
                add_parts::<VECTORS>(a, b, strip.part_of_b());
            }
            a = a.wrapping_add(walk.tile);
            b = b.wrapping_add(TILE_PAIRS * PANEL);
        }
        sums!(store, STRIPS, VECTORS, c, stride);
    }
}

/// Adds the products of a tile of one strip, or of two that are `next` apart, and those of B.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn add_whole<const STRIPS: usize, const VECTORS: usize>(a: *const u32, next: usize, b: *const u32) {
    // SAFETY: the caller says so.
    unsafe {
        load!("6", a, A_ROW);
        load!("7", b, B_ROW);
        add_product!("0", "6");
        if VECTORS > 1 {
            load!("7", b.add(PAD), B_ROW);
            add_product!("1", "6");
        }
        if VECTORS > 2 {
            load!("7", b.add(2 * PAD), B_ROW);
            add_product!("2", "6");
        }
        if STRIPS > 1 {
            // The other way round: it begins with what is still there.
            load!("6", a.add(next), A_ROW);
            if VECTORS > 2 {
                add_product!("5", "6");
                load!("7", b.add(PAD), B_ROW);
            }
            if VECTORS > 1 {
                add_product!("4", "6");
                load!("7", b, B_ROW);
            }
            add_product!("3", "6");
        }
    }
}

/// Adds the products of the parts of a tile, which go into tiles 3 to 5, and those of B, whose parts are `part` apart.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn add_parts<const VECTORS: usize>(a: *const u32, b: *const u32, part: usize) {
    // The smallest products first.
    macro_rules! vector {
        ($sum:literal, $b:expr) => {
            load!("7", $b.add(2 * part), B_ROW);
            add_product!($sum, "3");
            load!("7", $b.add(part), B_ROW);
            add_product!($sum, "4");
            add_product!($sum, "3");
            load!("7", $b, B_ROW);
            add_product!($sum, "5");
            add_product!($sum, "4");
            add_product!($sum, "3");
        };
    }
    // SAFETY: the caller says so.
    unsafe {
        load!("3", a, A_ROW);
        load!("4", a.add(TILE_SIZE), A_ROW);
        load!("5", a.add(2 * TILE_SIZE), A_ROW);
        vector!("0", b);
        if VECTORS > 1 {
            vector!("1", b.add(PAD));
        }
        if VECTORS > 2 {
            vector!("2", b.add(2 * PAD));
        }
    }
}
