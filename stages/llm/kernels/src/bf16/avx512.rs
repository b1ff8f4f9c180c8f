use std::arch::x86_64::{_mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};

use super::{PairStrip, TILE_PAIRS, panels::PANEL};
use crate::{
    lanes::PAD,
    simd::x86::{pair_products, read_pairs},
    weight::TILE,
};

/// Rows that are computed together.
const ROWS: usize = 8;

/// # Safety
/// The lengths must be those that [`PairStrip::run`] asserts.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn strip(strip: &mut PairStrip<'_>) {
    let PairStrip { rows, a, stride, accumulate, .. } = *strip;
    // Each block asks for some of what comes next.
    let blocks = stride.div_ceil(PANEL) * rows.div_ceil(ROWS);
    let mut asking = strip.asking(blocks);
    for (panel, column) in (0..stride).step_by(PANEL).enumerate() {
        let vectors = (stride - column).min(PANEL) / PAD;
        let mut row = 0;
        while row < rows {
            asking.go_on();
            // SAFETY: row, column and panel are within what the lengths allow.
            unsafe {
                let start = a.pairs.as_ptr().add(row / TILE * a.strip + row % TILE * TILE_PAIRS);
                let a = Rows { start, tile: a.tile, count: a.count };
                let b = strip.b.as_ptr().add((panel * strip.deep + strip.first) * PANEL);
                let c = strip.c.as_mut_ptr().add(row * stride + column);
                macro_rules! rows {
                    ($rows:literal) => {{
                        match vectors {
                            3 => block::<$rows, 3>(a, b, c, stride, accumulate),
                            2 => block::<$rows, 2>(a, b, c, stride, accumulate),
                            _ => block::<$rows, 1>(a, b, c, stride, accumulate),
                        }
                        row += $rows;
                    }};
                }
                match rows - row {
                    8.. => rows!(8),
                    4..8 => rows!(4),
                    2..4 => rows!(2),
                    _ => rows!(1),
                }
            }
        }
    }
}

/// Some rows of a strip.
#[derive(Clone, Copy)]
struct Rows {
    start: *const u32,
    tile: usize,
    count: usize,
}

/// # Safety
/// All of it has to be there.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn block<const M: usize, const N: usize>(
    a: Rows,
    mut b: *const u32,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    // SAFETY: the caller says so.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); N]; M];
        if accumulate {
            for (i, row) in sums.iter_mut().enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(c.add(i * stride + j * PAD));
                }
            }
        }
        for tile in 0..a.count {
            let mut at = a.start.add(tile * a.tile);
            for _ in 0..TILE_PAIRS {
                let right: [_; N] = std::array::from_fn(|j| read_pairs(b.add(j * PAD)));
                for (i, row) in sums.iter_mut().enumerate() {
                    for (sum, right) in row.iter_mut().zip(&right) {
                        *sum = pair_products(*sum, *at.add(i * TILE_PAIRS), *right);
                    }
                }
                at = at.add(1);
                b = b.add(PANEL);
            }
        }
        for (i, row) in sums.iter().enumerate() {
            for (j, sum) in row.iter().enumerate() {
                _mm512_storeu_ps(c.add(i * stride + j * PAD), *sum);
            }
        }
    }
}
