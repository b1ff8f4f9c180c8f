//! Products of tiles (AMX): 16 rows of 16 pairs meet 16 rows of 16 pairs in one instruction.
//!
//! Its instructions have no stable functions yet, so they are written as they are. The compiler hands out no tiles by itself: they
//! keep what these lines put into them.

use std::arch::asm;

use super::{PairStrip, TILE_PAIRS, panels::PANEL};
use crate::{lanes::PAD, simd::ask_for, weight::TILE};

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

/// Adds to a tile what tile 6 and tile 7 make.
macro_rules! add_product {
    ($sum:literal) => {
        asm!(concat!("tdpbf16ps tmm", $sum, ", tmm6, tmm7"), options(nostack, nomem, preserves_flags))
    };
}

/// What the tiles of a thread look like: 0 to 5 are sums, 6 is of the left side, 7 of the right.
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
pub(super) unsafe fn strip(strip: &PairStrip<'_>) {
    let whole = strip.rows / TILE * TILE;
    let parts = strip.stride.div_ceil(PANEL) * strip.rows.div_ceil(2 * TILE);
    let mut next = strip.ahead(parts);
    // SAFETY: all strips are there, and what is left of the last has tiles of its own shape.
    unsafe {
        if whole > 0 {
            let _tiles = Configured::for_rows(TILE);
            for row in (0..whole).step_by(2 * TILE) {
                rows(strip, row, whole - row >= 2 * TILE, &mut next);
            }
        }
        if whole < strip.rows {
            let _tiles = Configured::for_rows(strip.rows - whole);
            rows(strip, whole, false, &mut next);
        }
    }
}

/// One strip, or two at a time, from a row on.
///
/// # Safety
/// They have to be there, and the tiles be of so many rows.
unsafe fn rows<'n>(strip: &PairStrip<'_>, row: usize, two: bool, next: &mut impl Iterator<Item = &'n [u32]>) {
    for (panel, column) in (0..strip.stride).step_by(PANEL).enumerate() {
        ask_for(next.next().unwrap_or_default());
        // SAFETY: the caller says so.
        unsafe {
            let a = strip.a.pairs.as_ptr().add(row / TILE * strip.a.strip);
            let b = strip.b.as_ptr().add((panel * strip.deep + strip.first) * PANEL);
            let c = strip.c.as_ptr().add(row * strip.stride + column).cast_mut();
            match (two, (strip.stride - column).min(PANEL) / PAD) {
                (true, 3) => block::<2, 3>(strip, a, b, c),
                (true, 2) => block::<2, 2>(strip, a, b, c),
                (true, _) => block::<2, 1>(strip, a, b, c),
                (false, 3) => block::<1, 3>(strip, a, b, c),
                (false, 2) => block::<1, 2>(strip, a, b, c),
                (false, _) => block::<1, 1>(strip, a, b, c),
            }
        }
    }
}

/// Some tiles of C, the sums of one strip in tiles 0 to 2, those of another in 3 to 5.
///
/// # Safety
/// All of it has to be there, and the tiles be of so many rows.
#[inline]
unsafe fn block<const STRIPS: usize, const VECTORS: usize>(
    strip: &PairStrip<'_>,
    mut a: *const u32,
    mut b: *const u32,
    c: *mut f32,
) {
    let PairStrip { a: walk, stride, accumulate, .. } = strip;
    let (a_row, b_row, c_row) = (4 * walk.row, 4 * PANEL, 4 * stride);
    // SAFETY: the caller says so.
    unsafe {
        let below = c.wrapping_add(TILE * stride);
        macro_rules! sums {
            ($each:ident) => {
                $each!("0", c, c_row);
                if VECTORS > 1 {
                    $each!("1", c.add(PAD), c_row);
                }
                if VECTORS > 2 {
                    $each!("2", c.add(2 * PAD), c_row);
                }
                if STRIPS > 1 {
                    $each!("3", below, c_row);
                    if VECTORS > 1 {
                        $each!("4", below.add(PAD), c_row);
                    }
                    if VECTORS > 2 {
                        $each!("5", below.add(2 * PAD), c_row);
                    }
                }
            };
        }
        macro_rules! clear {
            ($tile:literal, $c:expr, $row:expr) => {
                zero!($tile)
            };
        }
        if *accumulate {
            sums!(load);
        } else {
            sums!(clear);
        }
        for _ in 0..walk.count {
            load!("6", a, a_row);
            load!("7", b, b_row);
            add_product!("0");
            if VECTORS > 1 {
                load!("7", b.add(PAD), b_row);
                add_product!("1");
            }
            if VECTORS > 2 {
                load!("7", b.add(2 * PAD), b_row);
                add_product!("2");
            }
            if STRIPS > 1 {
                // The other way round: it begins with what is still there.
                load!("6", a.add(walk.strip), a_row);
                if VECTORS > 2 {
                    add_product!("5");
                    load!("7", b.add(PAD), b_row);
                }
                if VECTORS > 1 {
                    add_product!("4");
                    load!("7", b, b_row);
                }
                add_product!("3");
            }
            a = a.wrapping_add(walk.tile);
            b = b.wrapping_add(TILE_PAIRS * PANEL);
        }
        sums!(store);
    }
}
