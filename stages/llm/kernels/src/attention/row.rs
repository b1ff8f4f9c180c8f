use std::ops::Range;

use super::{
    Past, Scores, Segment, Shape,
    softmax::{Divide, Exponents, Probabilities, Slopes},
};
use crate::{
    Isa, Lanes,
    ahead::Ahead,
    cap::{Bend, Cap},
    lanes::PAD,
    places::Places,
    room::{Kept, Numbers, lend},
    simd::{Kernel, Simd},
    tile::{Dots, Strip, Walk},
};

/// Queries of all stacked heads that are computed together, about.
const LANES_AT_ONCE: usize = 192;

/// Rows of a feature whose tokens are asked for before they are copied, or written: each lies far from the last.
const ROWS_AHEAD: usize = 16;

/// Memory that the rows of a task use one after the other.
#[derive(Default)]
pub(super) struct Room {
    /// `[width][stride]`.
    keys: Numbers,
    /// `[width][stride]`.
    values: Numbers,
    /// `[width][lanes]`, as all that follows of features.
    queries: Numbers,
    /// The gradient by the output.
    towards: Numbers,
    met: Numbers,
    /// `[keys][lanes]`.
    scores: Numbers,
    /// `[keys][lanes]`.
    slopes: Numbers,
    /// `[keys][lanes]`.
    capped: Numbers,
    /// The gradients by keys and by values, `[2][width][stride]`.
    d_keys: Numbers,
    /// One number for each lane.
    largest: Numbers,
    sums: Numbers,
}

impl Room {
    /// Lends this thread's.
    pub(super) fn lend<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static ROOM: Kept<Room> = Kept::default();
        }
        lend(&ROOM, work)
    }
}

/// One packed row and one key head, with the query heads that share it.
pub(super) struct Row<'a> {
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'a>,
    head: usize,
    segment: Segment,
    qkv: &'a Lanes,
    /// Keys the row sees, padded.
    stride: usize,
}

/// Some queries of a row: `first..end`, all stacked heads, and the keys that the last of them sees.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    end: usize,
    keys: usize,
    /// Queries of all stacked heads, padded.
    lanes: usize,
}

impl Block {
    fn queries(self) -> usize {
        self.end - self.first
    }
}

impl<'a> Row<'a> {
    /// Lays keys and values that the row sees beside each other in `room`.
    pub(super) fn new(
        isa: Isa,
        shape: Shape,
        of_scores: Scores<'a>,
        head: usize,
        segment: Segment,
        qkv: &'a Lanes,
        room: &mut Room,
    ) -> Self {
        let Segment { start, length, before } = segment;
        let row = Self { isa, shape, of_scores, head, segment, qkv, stride: (before + length).next_multiple_of(PAD) };
        for (first, to) in [(shape.heads, &mut room.keys), (shape.heads + shape.key_heads, &mut room.values)] {
            to.reuse(shape.width * row.stride);
            let first = (first + head) * shape.width;
            row.lay(qkv, first, 0..before, to, row.stride);
            row.lay(qkv, first, start..start + length, &mut to[before..], row.stride);
            pad(to, row.stride, before + length);
        }
        row
    }

    /// Copies some tokens of a head, whose features begin at `first`, to rows of `to_row` numbers.
    fn lay(&self, from: &Lanes, first: usize, tokens: Range<usize>, to: &mut [f32], to_row: usize) {
        let rows = from.rows(first..first + self.shape.width);
        self.isa.run(Lay { from: rows, from_row: from.stride(), tokens, to, to_row });
    }

    fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let stack = self.shape.stack();
        let Segment { length, before, .. } = self.segment;
        let step = (LANES_AT_ONCE / stack).max(PAD);
        (0..length).step_by(step).map(move |first| {
            let end = (first + step).min(length);
            Block { first, end, keys: before + end, lanes: (stack * (end - first)).next_multiple_of(PAD) }
        })
    }

    /// Tokens of the pass that a block has.
    fn tokens(&self, block: Block) -> Range<usize> {
        self.segment.start + block.first..self.segment.start + block.end
    }

    /// Lays the features of the stacked heads beside each other for a block: `[width][lanes]`.
    fn stacked(&self, rows: &Lanes, block: Block, to: &mut Numbers) {
        let (width, stack) = (self.shape.width, self.shape.stack());
        to.reuse(width * block.lanes);
        for stacked in 0..stack {
            let first = (self.head * stack + stacked) * width;
            self.lay(rows, first, self.tokens(block), &mut to[stacked * block.queries()..], block.lanes);
        }
        pad(to, block.lanes, stack * block.queries());
    }

    /// Writes what a block has of features of the stacked heads to their places.
    fn unstack(&self, from: &[f32], block: Block, to: &Places<'_, f32>) {
        let stack = self.shape.stack();
        for stacked in 0..stack {
            let from = &from[stacked * block.queries()..];
            let first = (self.head * stack + stacked) * self.shape.width;
            self.unlay(from, block.lanes, first, self.tokens(block), to);
        }
    }

    /// Writes the features of a head, in rows of `from_row` numbers, to some tokens of the row, the first to row `first` of the pass.
    fn unlay(&self, from: &[f32], from_row: usize, first: usize, tokens: Range<usize>, to: &Places<'_, f32>) {
        self.isa.run(Unlay { from, from_row, rows: first..first + self.shape.width, tokens, to });
    }

    /// `scores[key][lane]` = Σ left · right over the features.
    fn met(&self, left: &[f32], right: &[f32], block: Block, out: &mut Numbers) {
        out.reuse(block.keys * block.lanes);
        let a = Strided { values: left, row: 1, step: self.stride };
        multiply(self.isa, [block.keys, block.lanes, self.shape.width], &a, right, out);
    }

    /// `out[feature][lane]` = Σ left · weights over the keys.
    fn weighed(&self, left: &[f32], weights: &[f32], block: Block, out: &mut Numbers) {
        out.reuse(self.shape.width * block.lanes);
        let a = Strided { values: left, row: self.stride, step: 1 };
        multiply(self.isa, [self.shape.width, block.lanes, block.keys], &a, weights, out);
    }

    /// Takes off the scores of a block what distance costs.
    fn take_off(&self, block: Block, scores: &mut [f32]) {
        let Some(slopes) = self.of_scores.slopes else { return };
        let (stack, before) = (self.shape.stack(), self.segment.before);
        for (key, row) in scores.chunks_exact_mut(block.lanes).enumerate() {
            let heads = row.chunks_exact_mut(block.queries()).zip(&slopes[self.head * stack..(self.head + 1) * stack]);
            for (queries, slope) in heads {
                for (query, score) in queries.iter_mut().enumerate() {
                    // A key after the query is hidden, whatever comes out here.
                    *score -= slope * ((before + block.first + query) as f32 - key as f32);
                }
            }
        }
    }

    /// Replaces what a query of a block may not see: own keys of the row after it, and what is beyond the window.
    fn hide(&self, block: Block, scores: &mut [f32], hidden: f32) {
        let before = self.segment.before;
        if let Some(window) = self.of_scores.window {
            // The key at `key` is beyond the window for own queries from this one on.
            let beyond = |key: usize| (key + window).saturating_sub(before).max(block.first);
            for key in (0..block.keys).take_while(|key| beyond(*key) < block.end) {
                let row = &mut scores[key * block.lanes..(key + 1) * block.lanes];
                for stacked in row.chunks_exact_mut(block.queries()).take(self.shape.stack()) {
                    stacked[beyond(key) - block.first..].fill(hidden);
                }
            }
        }
        for key in block.first + 1..block.end {
            let row = &mut scores[(before + key) * block.lanes..(before + key + 1) * block.lanes];
            for stacked in row.chunks_exact_mut(block.queries()).take(self.shape.stack()) {
                stacked[..key - block.first].fill(hidden);
            }
        }
    }

    /// Writes the output, and ln Σ exp of the scores.
    pub(super) fn forward(&self, room: &mut Room, [output, log_sums]: &[Places<'_, f32>; 2]) {
        let Room { keys, values, queries, met, scores, largest, sums, .. } = room;
        for block in self.blocks() {
            self.stacked(self.qkv, block, queries);
            self.met(keys, queries, block, scores);
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Cap { values: scores, cap });
            }
            self.take_off(block, scores);
            self.hide(block, scores, f32::MIN);
            for (numbers, at_first) in [(&mut *largest, f32::MIN), (&mut *sums, 0.0)] {
                numbers.reuse(block.lanes);
                numbers.fill(at_first);
            }
            self.isa.run(Exponents { scores, largest, sums });
            self.weighed(values, scores, block, met);
            self.isa.run(Divide { values: met, by: sums });
            self.unstack(met, block, output);
            let heads = largest.chunks_exact(block.queries()).zip(sums.chunks_exact(block.queries()));
            for (stacked, (largest, sums)) in heads.take(self.shape.stack()).enumerate() {
                // SAFETY: no other task has this head and this row.
                let to = unsafe { log_sums.part(self.head * self.shape.stack() + stacked, self.tokens(block)) };
                for (to, (most, sum)) in to.iter_mut().zip(largest.iter().zip(sums)) {
                    *to = most + sum.ln();
                }
            }
        }
    }

    /// Writes the gradient by queries, and by the row's own keys and values; returns that by keys and by values of the shared
    /// beginning, `[2][width][before]`.
    pub(super) fn backward(&self, room: &mut Room, past: Past<'_>, to: &Places<'_, f32>) -> Vec<f32> {
        let (width, stack) = (self.shape.width, self.shape.stack());
        let Segment { start, length, before } = self.segment;
        room.d_keys.zeros(2 * width * self.stride);
        for block in self.blocks() {
            let Room { keys, values, queries, towards, met, scores, slopes, capped, d_keys, largest, sums } =
                &mut *room;
            self.stacked(self.qkv, block, queries);
            self.stacked(past.d_output, block, towards);
            let log_sums = largest;
            for numbers in [&mut *log_sums, &mut *sums] {
                numbers.zeros(block.lanes);
            }
            for (stacked, to) in log_sums.chunks_exact_mut(block.queries()).take(stack).enumerate() {
                let row = (self.head * stack + stacked) * past.qkv.stride();
                let tokens = self.tokens(block);
                to.copy_from_slice(&past.log_sums[row + tokens.start..row + tokens.end]);
            }
            self.met(keys, queries, block, scores);
            self.met(values, towards, block, slopes);
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Cap { values: scores, cap });
                capped.reuse(scores.len());
                capped.copy_from_slice(scores);
            }
            self.take_off(block, scores);
            self.isa.run(Probabilities { scores, log_sums });
            self.hide(block, scores, 0.0);
            self.isa.run(Slopes { probabilities: scores, d: slopes, sums });
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Bend { capped, cap, d: slopes });
            }
            self.weighed(keys, slopes, block, met);
            self.unstack(met, block, to);
            let (d_keys, d_values) = d_keys.split_at_mut(width * self.stride);
            for (a, b, out) in [(&*queries, &*slopes, d_keys), (towards, scores, d_values)] {
                self.isa.run(Dots { a, b, stride: block.lanes, out, row: self.stride });
            }
        }
        let mut shared = Vec::with_capacity(2 * width * before);
        for (part, sums) in room.d_keys.chunks_exact(width * self.stride).enumerate() {
            sums.chunks_exact(self.stride).for_each(|sums| shared.extend_from_slice(&sums[..before]));
            let first = (self.shape.heads + part * self.shape.key_heads + self.head) * width;
            self.unlay(&sums[before..], self.stride, first, start..start + length, to);
        }
        shared
    }
}

/// Copies some tokens of all rows of `from` to the beginnings of rows of `to`.
struct Lay<'a> {
    from: &'a [f32],
    from_row: usize,
    tokens: Range<usize>,
    to: &'a mut [f32],
    to_row: usize,
}

impl Kernel for Lay<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { from, from_row, tokens, to, to_row } = self;
        for (at, to) in to.chunks_mut(to_row).take(from.len() / from_row).enumerate() {
            let later = from.as_ptr().wrapping_add((at + ROWS_AHEAD) * from_row);
            for token in tokens.clone().step_by(PAD) {
                s.prefetch(later.wrapping_add(token));
            }
            s.copy(&from[at * from_row..][tokens.clone()], &mut to[..tokens.len()]);
        }
    }
}

/// Copies rows to some tokens of rows of a pass, which no other task may have.
struct Unlay<'a> {
    from: &'a [f32],
    from_row: usize,
    rows: Range<usize>,
    tokens: Range<usize>,
    to: &'a Places<'a, f32>,
}

impl Kernel for Unlay<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { from, from_row, rows, tokens, to } = self;
        for (at, row) in rows.enumerate() {
            // SAFETY: no other task has these heads and this row.
            let places = unsafe { to.part(row, tokens.clone()) };
            let later = places.as_ptr().wrapping_add(ROWS_AHEAD * to.stride());
            for token in (0..places.len()).step_by(PAD) {
                s.prefetch(later.wrapping_add(token));
            }
            s.copy(&from[at * from_row..][..places.len()], places);
        }
    }
}

/// Zeroes what rows of a length have beyond so many numbers.
fn pad(values: &mut [f32], row: usize, filled: usize) {
    if filled < row {
        for row in values.chunks_exact_mut(row) {
            row[filled..].fill(0.0);
        }
    }
}

/// A left side and how it is gone through.
struct Strided<'a> {
    values: &'a [f32],
    row: usize,
    step: usize,
}

/// C = A·B on one thread; `[rows, columns, depth]`.
fn multiply(isa: Isa, [rows, columns, depth]: [usize; 3], a: &Strided<'_>, b: &[f32], c: &mut [f32]) {
    assert!(rows > 0 && depth > 0 && columns.is_multiple_of(PAD));
    assert!(a.values.len() > (rows - 1) * a.row + (depth - 1) * a.step);
    assert!(b.len() >= depth * columns && c.len() >= rows * columns);
    let walk = Walk { start: a.values.as_ptr(), row: a.row, step: a.step, steps: depth, jump: 0, blocks: 1 };
    let (b, c) = (b.as_ptr(), c.as_mut_ptr());
    let next = Ahead::default();
    isa.run(Strip { rows, columns, a: walk, b, b_row: columns, c, c_row: columns, accumulate: false, next });
}
