use std::ops::Range;

use rayon::prelude::*;

use crate::{
    Isa, Precision, Weight,
    ahead::Ahead,
    lanes::PAD,
    matrix::{Lying, matrix_block, near_rows, panels},
    pairs::{InPairs, PANEL, Packed, PairStrip, Panels, strips_at_once},
    right_rows::RightRows,
    tasks::{TASKS_PER_THREAD, in_shrinking_tasks, rows_per_task},
    tile::{Dots, Strip, Walk},
    weight::{Direction, Made, TILE},
};

/// Columns of a left side that are unpacked before the next strip of rows: what they meet stays in a cache of its core. A multiple of the longest
/// block.
const DEPTH: usize = 256;

/// Columns of a left side in pairs that are gone through before the next strip of rows, about at most; a short rest of them would cost as many
/// reads and writes of sums as all.
const MOST_DEPTH: usize = 640;

/// Bytes of a right side that are gone through at a time where tiles are multiplied: a product is so fast there that sums which are read and written
/// again for each part of the columns cost more than what they meet, as long as a larger cache of its core holds that.
const MET_BY_TILES: usize = 5 << 18;

/// Columns of a left side that are gone through at a time there, at most: tiles that are made of them stay in a cache as well.
const MOST_DEPTH_IN_TILES: usize = 3 * DEPTH;

/// With a right side of more rows than this, which no cache holds, each thread has one task and so goes through it once.
const DEEP: usize = 8192;

/// With fewer rows than this, tasks share the tokens instead of the rows.
const FEW_ROWS: usize = 64;

/// Multiplications that are enough for a task in bf16: there a right side is gone through for each strip of rows, whatever task has it, and
/// the smaller the last tasks are, the less threads wait for each other.
const ENOUGH_WORK: usize = 1 << 22;

/// The same where tiles are multiplied, ten times as fast.
const ENOUGH_WORK_IN_TILES: usize = 1 << 25;

/// The side of a product whose numbers are taken one by one.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// W.
    Weight(&'a Weight),
    /// Wᵀ.
    Transposed(&'a Weight),
    /// A matrix as it lies: from a row to the next it is `row` numbers, from a column to the next `column`.
    Matrix {
        /// The numbers.
        values: &'a [f32],
        /// How many rows.
        rows: usize,
        /// From a row to the next.
        row: usize,
        /// From a column to the next.
        column: usize,
    },
}

/// The side of a product that lies in lanes.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Rows of `stride` tokens.
    Lanes {
        /// The rows.
        rows: &'a [f32],
        /// Length of each.
        stride: usize,
    },
    /// Packed for weights in bf16, or for those in f32 that are multiplied in parts.
    Panels(&'a Panels),
}

/// One of the products that are added up.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// `[rows, depth]`.
    pub left: Left<'a>,
    /// `[depth, tokens]`.
    pub right: Right<'a>,
}

impl<'a> Left<'a> {
    /// A matrix that lies row by row.
    pub fn matrix(values: &'a [f32], rows: usize) -> Self {
        Self::Matrix { values, rows, row: values.len() / rows, column: 1 }
    }

    /// The transposed of a matrix that lies row by row and has so many rows.
    pub fn transposed(values: &'a [f32], rows: usize) -> Self {
        let width = values.len() / rows;
        Self::Matrix { values, rows: width, row: 1, column: width }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Left::Weight(weight) => weight.out(),
            Left::Transposed(weight) => weight.width(),
            Left::Matrix { rows, .. } => *rows,
        }
    }
}

impl Right<'_> {
    fn depth(&self) -> usize {
        match self {
            Right::Lanes { rows, stride } => rows.len() / stride,
            Right::Panels(panels) => panels.features(),
        }
    }

    /// Whether a panel of it is gone through at a time for all rows of a task.
    fn is_met_in_f32(&self) -> bool {
        match self {
            Right::Lanes { .. } => true,
            Right::Panels(panels) => panels.holds_floats(),
        }
    }

    fn stride(&self) -> usize {
        match self {
            Right::Lanes { stride, .. } => *stride,
            Right::Panels(panels) => panels.stride(),
        }
    }
}

/// Some rows of a product, which one thread computes.
pub(crate) struct Task<'c> {
    pub(crate) isa: Isa,
    /// The rows.
    pub(crate) c: &'c mut [f32],
    /// From a row to the next.
    pub(crate) c_row: usize,
    /// Which row of the left side the first of them is, a multiple of a tile's.
    pub(crate) first: usize,
    /// Whether they are added to.
    pub(crate) accumulate: bool,
}

impl Task<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.c.len() / self.c_row
    }

    /// The strips of the left side that it meets.
    fn strips(&self) -> Range<usize> {
        let first = self.first / TILE;
        first..first + self.rows().div_ceil(TILE)
    }
}

/// C (+)= Σ left · right over the terms; `c` are rows of as many tokens as the right sides have.
///
/// # Panics
/// When the shapes do not fit together.
pub fn product(isa: Isa, c: &mut [f32], stride: usize, accumulate: bool, terms: &[Term<'_>]) {
    assert!(stride > 0 && stride.is_multiple_of(PAD) && c.len().is_multiple_of(stride), "rows are padded");
    let rows = c.len() / stride;
    for term in terms {
        assert!(term.left.rows() == rows && term.right.stride() == stride, "shapes of a product do not fit");
        match term.left {
            Left::Weight(weight) => assert_eq!(weight.width(), term.right.depth()),
            Left::Transposed(weight) => assert_eq!(weight.out(), term.right.depth()),
            Left::Matrix { values, row, column, .. } => {
                assert!(rows == 0 || values.len() > (rows - 1) * row + (term.right.depth() - 1) * column);
            }
        }
    }
    let in_lanes = terms.iter().all(|term| matches!(term.right, Right::Lanes { .. }));
    let in_f32 = terms.iter().all(|term| term.right.is_met_in_f32());
    if rows < FEW_ROWS && in_lanes && rayon::current_num_threads() > 1 {
        return by_tokens(isa, c, stride, accumulate, terms);
    }
    let threads = rayon::current_num_threads();
    let no_cache_holds = |right: &Right<'_>| match right {
        Right::Panels(panels) if isa.has_tiles() => panels.bytes() > MET_BY_TILES,
        right => right.depth() > DEEP,
    };
    let compute = |first: usize, c: &mut [f32]| {
        let mut accumulate = accumulate;
        for term in terms {
            block(Task { isa, c: &mut *c, c_row: stride, first, accumulate }, term);
            accumulate = true;
        }
    };
    let per_task = if terms.iter().any(|term| no_cache_holds(&term.right)) {
        rows_per_task(rows, threads, 1)
    } else if in_f32 {
        return in_shrinking_tasks(c, stride, compute);
    } else {
        let depth: usize = terms.iter().map(|term| term.right.depth()).sum();
        let least = TILE * strips_at_once(isa, 1);
        let enough_work = if isa.has_tiles() { ENOUGH_WORK_IN_TILES } else { ENOUGH_WORK };
        let enough = least * (enough_work / (least * depth * stride)).max(1);
        enough.min(rows_per_task(rows, threads, TASKS_PER_THREAD)).next_multiple_of(least)
    };
    let tasks = c.par_chunks_mut(per_task * stride).enumerate().with_max_len(1);
    tasks.for_each(|(task, c)| compute(task * per_task, c));
}

/// The product of few rows, each task with some of the tokens.
fn by_tokens(isa: Isa, c: &mut [f32], stride: usize, accumulate: bool, terms: &[Term<'_>]) {
    let rows = c.len() / stride;
    let width = stride.div_ceil(rayon::current_num_threads()).next_multiple_of(3 * PAD).min(stride);
    let starts: Vec<usize> = (0..stride).step_by(width).collect();
    let parts: Vec<Vec<f32>> = starts
        .par_iter()
        .map(|&start| {
            let width = width.min(stride - start);
            let mut part = vec![0f32; rows * width];
            if accumulate {
                for (to, from) in part.chunks_exact_mut(width).zip(c.chunks_exact(stride)) {
                    to.copy_from_slice(&from[start..start + width]);
                }
            }
            let mut accumulate = accumulate;
            for term in terms {
                let Right::Lanes { rows, .. } = term.right else { continue };
                let right = RightRows::Lanes { values: &rows[start..], stride };
                let task = Task { isa, c: &mut part, c_row: width, first: 0, accumulate };
                block_in_f32(task, term.left, term.right.depth(), right);
                accumulate = true;
            }
            part
        })
        .collect();
    for (start, part) in starts.iter().zip(&parts) {
        let width = part.len() / rows;
        for (to, from) in c.chunks_exact_mut(stride).zip(part.chunks_exact(width)) {
            to[*start..start + width].copy_from_slice(from);
        }
    }
}

/// What one term adds to the rows of a task.
fn block(task: Task<'_>, term: &Term<'_>) {
    let depth = term.right.depth();
    let panels = match term.right {
        Right::Lanes { rows, stride } => {
            return block_in_f32(task, term.left, depth, RightRows::Lanes { values: rows, stride });
        }
        Right::Panels(panels) => panels,
    };
    match (term.left, panels.packed(task.isa)) {
        (Left::Weight(weight), Packed::Pairs(pairs)) => block_in_pairs(task, (weight, Direction::Plain), panels, pairs),
        (Left::Transposed(weight), Packed::Pairs(pairs)) => {
            block_in_pairs(task, (weight, Direction::Transposed), panels, pairs);
        }
        (Left::Matrix { .. }, Packed::Pairs(_)) => unreachable!("invariant: matrices that lie so meet rows in f32"),
        (left, Packed::Floats(rows)) => block_in_f32(task, left, depth, rows),
    }
}

/// A block whose right side is in f32.
fn block_in_f32(task: Task<'_>, left: Left<'_>, depth: usize, right: RightRows<'_>) {
    let (weight, direction) = match left {
        Left::Matrix { values, row, column, .. } => {
            let left = Lying { values, row, column };
            return matrix_block(task, left, depth, right);
        }
        Left::Weight(weight) => (weight, Direction::Plain),
        Left::Transposed(weight) => (weight, Direction::Transposed),
    };
    if let Some(packed) = weight.in_blocks() {
        let isa = task.isa;
        return made_block(task, depth, right, |strip, columns, values| {
            packed.strip(isa, direction, strip, columns, values)
        });
    }
    if weight.precision() == Precision::Bf16 {
        assert!(matches!(right, RightRows::Panels { .. }), "invariant: weights in bf16 meet panels");
        let (isa, mut as_kept) = (task.isa, Made::default());
        return made_block(task, depth, right, |strip, columns, values| {
            weight.widened(isa, direction, strip, columns, (&mut as_kept, values))
        });
    }
    weight_block(task, (weight, direction), depth, right);
}

/// `c` = left · rows on one thread, of the columns of a small left side from one on: as many as there are rows of `stride` tokens.
pub(crate) fn of_columns(isa: Isa, c: &mut [f32], stride: usize, (left, first): (Left<'_>, usize), rows: &[f32]) {
    let Left::Matrix { values, rows: count, row, column } = left else {
        unreachable!("invariant: a weight meets rows in its own form")
    };
    let depth = rows.len() / stride;
    assert_eq!(c.len(), count * stride, "shapes of a product do not fit");
    let Some(last) = count.checked_sub(1) else { return };
    let values = &values[first * column..];
    assert!(depth > 0 && values.len() > last * row + (depth - 1) * column, "shapes of a product do not fit");
    let task = Task { isa, c, c_row: stride, first: 0, accumulate: false };
    let left = Lying { values, row, column };
    matrix_block(task, left, depth, RightRows::Lanes { values: rows, stride });
}

/// Goes through a weight that is multiplied in f32, 16 rows at a time.
fn weight_block(task: Task<'_>, (weight, direction): (&Weight, Direction), depth: usize, right: RightRows<'_>) {
    let strips = task.strips();
    let Task { isa, c, c_row, accumulate, .. } = task;
    let one_panel = c_row <= PANEL && direction == Direction::Plain;
    let mut visit = |strip: usize, steps: Range<usize>, tokens: Range<usize>| {
        let walk = weight.walk(direction, strip, steps.start / TILE..steps.end.div_ceil(TILE));
        let mut a = walk.expect("invariant: it is kept in f32");
        a.steps = a.steps.min(steps.len());
        let c = &mut c[(strip - strips.start) * TILE * c_row..];
        let rows = (c.len() / c_row).min(TILE);
        let accumulate = accumulate || steps.start > 0;
        let (b, b_row) = right.from(steps.start, tokens.start);
        let c = c[tokens.start..].as_mut_ptr();
        // The same strip further on, or one of the task that follows; each panel of tokens asks for a part.
        let next = match steps.end.next_multiple_of(TILE) {
            column if column < depth || one_panel => (strip, column),
            _ => (strip + strips.len(), 0),
        };
        let next = weight.ahead(direction, next.0..next.0 + 1, next.1..next.1 + near_rows());
        let next = next.part(tokens.start / PANEL, c_row.div_ceil(PANEL));
        isa.run(Strip { rows, columns: tokens.len(), a, b: b.as_ptr(), b_row, c, c_row, accumulate, next });
    };
    if one_panel {
        // Little is computed with each number, so the weight is read as it lies.
        for strip in strips.clone() {
            panels(depth, c_row).for_each(|(steps, tokens)| visit(strip, steps, tokens));
        }
        return;
    }
    for (steps, tokens) in panels(depth, c_row) {
        strips.clone().for_each(|strip| visit(strip, steps.clone(), tokens.clone()));
    }
}

/// Goes through a weight whose strips are made of what it is kept in, each once for all tokens.
fn made_block(
    task: Task<'_>,
    depth: usize,
    right: RightRows<'_>,
    mut make: impl FnMut(usize, Range<usize>, &mut Vec<f32>) -> Walk,
) {
    let strips = task.strips();
    let Task { isa, c, c_row, accumulate, .. } = task;
    let mut values = Vec::new();
    for start in (0..depth).step_by(DEPTH) {
        let columns = start..(start + DEPTH).min(depth);
        let accumulate = accumulate || start > 0;
        for (strip, c) in strips.clone().zip(c.chunks_mut(TILE * c_row)) {
            let a = make(strip, columns.clone(), &mut values);
            let rows = c.len() / c_row;
            for token in (0..c_row).step_by(PANEL) {
                let (b, b_row) = right.from(start, token);
                let (columns, c) = (PANEL.min(c_row - token), c[token..].as_mut_ptr());
                let next = Ahead::default();
                isa.run(Strip { rows, columns, a, b: b.as_ptr(), b_row, c, c_row, accumulate, next });
            }
        }
    }
}

/// Goes through a weight that meets panels of pairs.
fn block_in_pairs(
    task: Task<'_>,
    (weight, direction): (&Weight, Direction),
    panels: &Panels,
    InPairs { pairs: b, deep, scales }: InPairs<'_>,
) {
    let strips = task.strips();
    let Task { isa, c, c_row: stride, accumulate, .. } = task;
    let depth = weight.shape(direction).1;
    let (at_once, deep_at_once) = (strips_at_once(isa, panels.parts()), deep_at_once(isa, panels));
    let mut made = Made::default();
    for start in (0..depth).step_by(deep_at_once) {
        let columns = start..(start + deep_at_once).min(depth);
        let accumulate = accumulate || start > 0;
        for (strip, c) in strips.clone().step_by(at_once).zip(c.chunks_mut(at_once * TILE * stride)) {
            let rows = c.len() / stride;
            let met = strip..strip + rows.div_ceil(TILE);
            let (after, from) = what_follows(met.end, &strips, columns.clone(), depth);
            let next = weight.ahead(direction, after..after + at_once, from..(from + deep_at_once).min(depth));
            let a = weight.pairs(isa, direction, met, columns.clone(), &mut made);
            assert_eq!(a.parts, panels.parts(), "invariant: both sides have as many parts");
            PairStrip { rows, a, scales, b, deep, first: start / 2, c, stride, accumulate, next }.run(isa);
        }
    }
}

/// Columns of a weight that meet panels before the next strips of rows do.
fn deep_at_once(isa: Isa, panels: &Panels) -> usize {
    let depth = panels.features();
    let parts = if isa.has_tiles() {
        panels.bytes().div_ceil(MET_BY_TILES).max(depth.div_ceil(MOST_DEPTH_IN_TILES))
    } else {
        depth.div_ceil(MOST_DEPTH)
    };
    let parts = parts.max(1);
    depth.div_ceil(parts).next_multiple_of(DEPTH)
}

/// The strip, and its first column, that a task meets after some columns of the one before `next`: `next` itself, the first one further on, or that
/// of the task that follows.
fn what_follows(next: usize, strips: &Range<usize>, columns: Range<usize>, depth: usize) -> (usize, usize) {
    match (next < strips.end, columns.end < depth) {
        (true, _) => (next, columns.start),
        (false, true) => (strips.start, columns.end),
        (false, false) => (strips.end, 0),
    }
}

/// Sums over tokens: `out[i][j]` += Σ `a[i]`·`b[j]`, `a` and `b` being rows of `stride` tokens.
///
/// # Panics
/// When `out` has not a number for each pair of rows.
pub fn token_products(isa: Isa, a: &[f32], b: &[f32], stride: usize, out: &mut [f32]) {
    let (m, n) = (a.len() / stride, b.len() / stride);
    assert_eq!(out.len(), m * n);
    if out.is_empty() {
        return;
    }
    let per_task = m.div_ceil(rayon::current_num_threads() * TASKS_PER_THREAD).next_multiple_of(4);
    out.par_chunks_mut(per_task * n).zip(a.par_chunks(per_task * stride)).for_each(|(out, a)| {
        isa.run(Dots { a, b, stride, out, row: n });
    });
}
