//! Products whose left side lies row by row or column by column: small matrices of adapters, and weights that are trained.

use std::ops::Range;

use crate::{
    ahead::Ahead,
    pairs::PANEL,
    product::Task,
    right_rows::RightRows,
    rows::with_room,
    simd::nearest_cache,
    tile::{Strip, Walk},
    weight::TILE,
};

/// A matrix as it lies.
#[derive(Clone, Copy)]
pub(crate) struct Lying<'a> {
    pub(crate) values: &'a [f32],
    /// From a row to the next.
    pub(crate) row: usize,
    /// From a column to the next.
    pub(crate) column: usize,
}

impl<'a> Lying<'a> {
    /// Its numbers from a row and a column on.
    fn from(self, row: usize, column: usize) -> &'a [f32] {
        &self.values[row * self.row + column * self.column..]
    }

    /// Whether it is read in whole tiles: a large one that more tokens meet than a panel has.
    fn is_met_in_tiles(self, depth: usize, tokens: usize) -> bool {
        depth >= near_rows() && tokens > PANEL && (self.row == 1 || self.column == 1)
    }

    /// Copies 16 rows and columns from some on, in the direction in which they lie beside each other.
    fn lay_out_tile(self, row: usize, column: usize, to: &mut [f32]) {
        let from = self.from(row, column);
        for (line, to) in to.chunks_exact_mut(TILE).enumerate() {
            to.copy_from_slice(&from[line * self.row.max(self.column)..][..TILE]);
        }
    }

    /// A tile's rows in some columns, which may end before. Column by column they lie where the processor does not look by itself.
    fn ahead(self, row: usize, columns: Range<usize>) -> Ahead<'a> {
        if self.row != 1 {
            return Ahead::default();
        }
        let values = self.values.get(row + columns.start * self.column..).unwrap_or_default();
        Ahead { values: bytemuck::cast_slice(values), piece: TILE, jump: self.column, count: columns.len() }
    }
}

/// Goes through a matrix of so many columns.
pub(crate) fn matrix_block(task: Task<'_>, left: Lying<'_>, depth: usize, right: RightRows<'_>) {
    let rows = task.rows();
    let Task { isa, c, c_row, first, accumulate } = task;
    let mut meet = |a: Walk, of: Range<usize>, steps: &Range<usize>, tokens: &Range<usize>, next: Ahead<'_>| {
        let accumulate = accumulate || steps.start > 0;
        let (b, b_row) = right.from(steps.start, tokens.start);
        let c = &mut c[of.start * c_row + tokens.start..];
        let (rows, columns, c) = (of.len(), tokens.len(), c.as_mut_ptr());
        isa.run(Strip { rows, columns, a, b: b.as_ptr(), b_row, c, c_row, accumulate, next });
    };
    let as_it_lies = |row: usize, steps: &Range<usize>| {
        let start = left.from(first + row, steps.start).as_ptr();
        Walk { start, row: left.row, step: left.column, steps: steps.len(), jump: 0, blocks: 1 }
    };
    // The rows of a large one, or its columns, are far from each other. What all tokens meet next is brought together first.
    let whole = if left.is_met_in_tiles(depth, c_row) { rows / TILE } else { 0 };
    with_room(whole * TILE * near_rows(), |room| {
        for (steps, tokens) in panels(depth, c_row) {
            let tiles = steps.len() / TILE;
            let strips = if tiles > 0 { whole } else { 0 };
            if tokens.start == 0 {
                for (at, tile) in room.chunks_exact_mut(TILE * TILE).take(whole * tiles).enumerate() {
                    left.lay_out_tile(first + at / tiles * TILE, steps.start + at % tiles * TILE, tile);
                }
            }
            for strip in 0..strips {
                let start = room[strip * tiles * TILE * TILE..].as_ptr();
                let (row, step) = if left.column == 1 { (TILE, 1) } else { (1, TILE) };
                let a = Walk { start, row, step, steps: TILE, jump: TILE * TILE, blocks: tiles };
                // Each panel asks for a part of what comes after these columns.
                let next = left.ahead(first + strip * TILE, steps.end..steps.end + tiles * TILE);
                let next = next.part(tokens.start / PANEL, c_row.div_ceil(PANEL));
                meet(a, strip * TILE..(strip + 1) * TILE, &steps, &tokens, next);
            }
            let rest = strips * TILE..rows;
            if !rest.is_empty() {
                meet(as_it_lies(rest.start, &steps), rest, &steps, &tokens, Ahead::default());
            }
        }
    });
}

/// Rows of a right side in f32, and columns of a left one, that are gone through before the next panel of tokens, about at most. A panel of them
/// takes 27 KiB where the nearest cache has 48 or more, and 18 where it has 32; measured on processors with 48 and with 32.
pub(crate) fn near_rows() -> usize {
    if nearest_cache() < 48 << 10 { 6 * TILE } else { 9 * TILE }
}

/// How a task goes through a right side: in panels of about [`near_rows`] rows and 48 tokens, which the nearest cache holds while all rows of the left side
/// meet them. The panels are even: sums are read and written once for each, however short it is.
pub(crate) fn panels(depth: usize, tokens: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let near = depth.div_ceil(depth.div_ceil(near_rows()).max(1)).next_multiple_of(TILE);
    let steps = (0..depth).step_by(near.max(1)).flat_map(move |start| {
        let end = (start + near).min(depth);
        // Whole tiles, then what is left of the last.
        let whole = start..start + (end - start) / TILE * TILE;
        [whole.clone(), whole.end..end].into_iter().filter(|steps| !steps.is_empty())
    });
    steps.flat_map(move |steps| {
        (0..tokens).step_by(PANEL).map(move |start| (steps.clone(), start..(start + PANEL).min(tokens)))
    })
}
