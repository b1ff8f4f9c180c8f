//! Causal attention of packed rows: each token sees the shared beginning and its own row up to itself.
//!
//! Scores exist for one block of queries of one row and one key head at a time. The query heads that share a key head
//! are laid beside each other, so that the keys are met once.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    cap::{Bend, Cap},
    lanes::PAD,
    simd::{Kernel, Simd, exp},
    tile::{Strip, Walk},
};

/// Queries of all stacked heads that are computed together, about.
const LANES_AT_ONCE: usize = 192;

/// One packed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first token in the pass.
    pub start: usize,
    /// Its tokens.
    pub length: usize,
    /// Tokens at the start of the pass that all of its tokens see.
    pub before: usize,
}

/// Heads, and how wide each is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key heads; fewer than `heads` in grouped-query attention.
    pub key_heads: usize,
    /// Features of a head.
    pub width: usize,
}

impl Shape {
    fn stack(self) -> usize {
        self.heads / self.key_heads
    }

    /// Features of queries, keys and values together, in this order.
    pub fn features(self) -> usize {
        (self.heads + 2 * self.key_heads) * self.width
    }
}

/// What becomes of the scores before the softmax. By default nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scores<'a> {
    /// How many tokens a token sees, itself among them; all before it if absent.
    pub window: Option<usize>,
    /// They are held in ± this: c · tanh(score / c).
    pub cap: Option<f32>,
    /// Per query head: what each token of distance takes off.
    pub slopes: Option<&'a [f32]>,
}

/// The attention's output for each token, and ln Σ exp of the scores of each head and token, which the gradient needs.
///
/// `qkv` holds queries (turned and scaled), keys (turned) and values, `output` one row per feature of the query heads.
pub fn forward(
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'_>,
    segments: &[Segment],
    qkv: &Lanes,
    output: &mut Lanes,
) -> Vec<f32> {
    let stride = qkv.stride();
    output.reshape(shape.heads * shape.width, qkv.tokens());
    let tasks = tasks(shape, segments);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = tasks
        .par_iter()
        .map(|&(head, segment)| Row::new(isa, shape, of_scores, head, segment, qkv).forward())
        .collect();
    let mut log_sums = vec![0f32; shape.heads * stride];
    for (&(head, segment), (_, sums)) in tasks.iter().zip(&parts) {
        let Segment { start, length, .. } = segment;
        for (stacked, sums) in sums.chunks_exact(length).enumerate() {
            let row = (head * shape.stack() + stacked) * stride;
            log_sums[row + start..row + start + length].copy_from_slice(sums);
        }
    }
    let group = shape.stack() * shape.width;
    output.values_mut().par_chunks_mut(stride).enumerate().for_each(|(feature, row)| {
        let (head, within) = (feature / group, feature % group);
        for (&(_, segment), (part, _)) in tasks.iter().zip(&parts).filter(|((of, _), _)| *of == head) {
            let Segment { start, length, .. } = segment;
            row[start..start + length].copy_from_slice(&part[within * length..(within + 1) * length]);
        }
    });
    log_sums
}

/// What [`backward`] reads of the forward pass, and the gradient it starts from.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// As [`forward`] took it.
    pub qkv: &'a Lanes,
    /// As [`forward`] wrote it.
    pub output: &'a Lanes,
    /// As [`forward`] returned it.
    pub log_sums: &'a [f32],
    /// The gradient by `output`.
    pub d_output: &'a Lanes,
}

/// The gradient by queries, keys and values.
pub fn backward(
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'_>,
    segments: &[Segment],
    past: Past<'_>,
    d_qkv: &mut Lanes,
) {
    let stride = past.qkv.stride();
    d_qkv.reshape(shape.features(), past.qkv.tokens());
    let tasks = tasks(shape, segments);
    let parts: Vec<Gradient> = tasks
        .par_iter()
        .map(|&(head, segment)| Row::new(isa, shape, of_scores, head, segment, past.qkv).backward(past))
        .collect();
    let (width, stack) = (shape.width, shape.stack());
    d_qkv.values_mut().par_chunks_mut(stride).enumerate().for_each(|(feature, row)| {
        let queries = shape.heads * width;
        let keys = shape.key_heads * width;
        let (head, within, part): (_, _, fn(&Gradient) -> &[f32]) = if feature < queries {
            (feature / (stack * width), feature % (stack * width), |gradient| &gradient.queries)
        } else if feature < queries + keys {
            ((feature - queries) / width, (feature - queries) % width, |gradient| &gradient.keys)
        } else {
            ((feature - queries - keys) / width, (feature - queries - keys) % width, |gradient| &gradient.values)
        };
        // Rows add to the keys of the shared beginning in their own order, always the same.
        for (&(_, segment), gradient) in tasks.iter().zip(&parts).filter(|((of, _), _)| *of == head) {
            let Segment { start, length, before } = segment;
            let part = part(gradient);
            if feature < queries {
                row[start..start + length].copy_from_slice(&part[within * length..(within + 1) * length]);
            } else {
                let seen = &part[within * gradient.stride..(within + 1) * gradient.stride];
                for (sum, value) in row[..before].iter_mut().zip(seen) {
                    *sum += value;
                }
                for (sum, value) in row[start..start + length].iter_mut().zip(&seen[before..]) {
                    *sum += value;
                }
            }
        }
    });
}

fn tasks(shape: Shape, segments: &[Segment]) -> Vec<(usize, Segment)> {
    let rows = segments.iter().filter(|segment| segment.length > 0);
    rows.flat_map(|segment| (0..shape.key_heads).map(|head| (head, *segment))).collect()
}

/// The gradient of one row by one key head and its query heads.
struct Gradient {
    /// `[stacked heads · width][length]`.
    queries: Vec<f32>,
    /// `[width][stride]`.
    keys: Vec<f32>,
    /// `[width][stride]`.
    values: Vec<f32>,
    /// Keys the row sees, padded.
    stride: usize,
}

/// One packed row and one key head.
struct Row<'a> {
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'a>,
    head: usize,
    segment: Segment,
    qkv: &'a Lanes,
    /// `[width][stride]`.
    keys: Vec<f32>,
    /// `[width][stride]`.
    values: Vec<f32>,
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
    fn new(isa: Isa, shape: Shape, of_scores: Scores<'a>, head: usize, segment: Segment, qkv: &'a Lanes) -> Self {
        let Segment { start, length, before } = segment;
        let stride = (before + length).next_multiple_of(PAD);
        let gather = |first: usize| {
            let mut rows = vec![0f32; shape.width * stride];
            for (feature, to) in rows.chunks_exact_mut(stride).enumerate() {
                let from = qkv.row(first + head * shape.width + feature);
                to[..before].copy_from_slice(&from[..before]);
                to[before..before + length].copy_from_slice(&from[start..start + length]);
            }
            rows
        };
        let keys = gather(shape.heads * shape.width);
        let values = gather((shape.heads + shape.key_heads) * shape.width);
        Self { isa, shape, of_scores, head, segment, qkv, keys, values, stride }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        let stack = self.shape.stack();
        let Segment { length, before, .. } = self.segment;
        let step = (LANES_AT_ONCE / stack).max(PAD);
        (0..length).step_by(step).map(move |first| {
            let end = (first + step).min(length);
            Block { first, end, keys: before + end, lanes: (stack * (end - first)).next_multiple_of(PAD) }
        })
    }

    /// Lays the features of the stacked heads, `from` on in `rows`, beside each other for a block: `[width][lanes]`.
    fn stacked(&self, rows: &Lanes, block: Block, to: &mut Vec<f32>) {
        let (width, stack, queries) = (self.shape.width, self.shape.stack(), block.queries());
        to.clear();
        to.resize(width * block.lanes, 0.0);
        for stacked in 0..stack {
            for feature in 0..width {
                let row = rows.row((self.head * stack + stacked) * width + feature);
                let from = &row[self.segment.start + block.first..self.segment.start + block.end];
                to[feature * block.lanes + stacked * queries..][..queries].copy_from_slice(from);
            }
        }
    }

    /// `scores[key][lane]` = Σ key · query over the features.
    fn met(&self, left: &[f32], right: &[f32], block: Block, out: &mut Vec<f32>) {
        out.resize(block.keys * block.lanes, 0.0);
        let a = Strided { values: left, row: 1, step: self.stride };
        multiply(
            self.isa,
            [block.keys, block.lanes, self.shape.width],
            &a,
            (right, block.lanes),
            (out, block.lanes),
            false,
        );
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

    fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let (width, stack, length) = (self.shape.width, self.shape.stack(), self.segment.length);
        let mut output = vec![0f32; stack * width * length];
        let mut log_sums = vec![0f32; stack * length];
        let (mut queries, mut scores, mut met) = (Vec::new(), Vec::new(), Vec::new());
        for block in self.blocks() {
            self.stacked(self.qkv, block, &mut queries);
            self.met(&self.keys, &queries, block, &mut scores);
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Cap { values: &mut scores, cap });
            }
            self.take_off(block, &mut scores);
            self.hide(block, &mut scores, f32::MIN);
            let (mut largest, mut sums) = (vec![f32::MIN; block.lanes], vec![0f32; block.lanes]);
            self.isa.run(Exponents { scores: &mut scores, largest: &mut largest, sums: &mut sums });
            met.resize(width * block.lanes, 0.0);
            let a = Strided { values: &self.values, row: self.stride, step: 1 };
            let shape = [width, block.lanes, block.keys];
            multiply(self.isa, shape, &a, (&scores, block.lanes), (&mut met, block.lanes), false);
            let count = block.queries();
            for stacked in 0..stack {
                let lanes = stacked * count..(stacked + 1) * count;
                for feature in 0..width {
                    let from = &met[feature * block.lanes..][lanes.clone()];
                    let to = &mut output[(stacked * width + feature) * length + block.first..][..count];
                    for ((to, from), sum) in to.iter_mut().zip(from).zip(&sums[lanes.clone()]) {
                        *to = from / sum;
                    }
                }
                let to = &mut log_sums[stacked * length + block.first..][..count];
                for ((to, most), sum) in to.iter_mut().zip(&largest[lanes.clone()]).zip(&sums[lanes]) {
                    *to = most + sum.ln();
                }
            }
        }
        (output, log_sums)
    }

    fn backward(&self, past: Past<'_>) -> Gradient {
        let (width, stack, length) = (self.shape.width, self.shape.stack(), self.segment.length);
        let mut gradient = Gradient {
            queries: vec![0f32; stack * width * length],
            keys: vec![0f32; width * self.stride],
            values: vec![0f32; width * self.stride],
            stride: self.stride,
        };
        let [mut queries, mut towards, mut output, mut scores, mut slopes, mut turned, mut met, mut capped] =
            [(); 8].map(|()| Vec::new());
        let tokens = past.qkv.stride();
        for block in self.blocks() {
            let count = block.queries();
            self.stacked(self.qkv, block, &mut queries);
            self.stacked(past.d_output, block, &mut towards);
            self.stacked(past.output, block, &mut output);
            let (mut log_sums, mut along) = (vec![0f32; block.lanes], vec![0f32; block.lanes]);
            for stacked in 0..stack {
                let from = (self.head * stack + stacked) * tokens + self.segment.start + block.first;
                log_sums[stacked * count..(stacked + 1) * count].copy_from_slice(&past.log_sums[from..from + count]);
            }
            for (o, d) in output.chunks_exact(block.lanes).zip(towards.chunks_exact(block.lanes)) {
                for ((sum, o), d) in along.iter_mut().zip(o).zip(d) {
                    *sum += o * d;
                }
            }
            self.met(&self.keys, &queries, block, &mut scores);
            self.met(&self.values, &towards, block, &mut slopes);
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Cap { values: &mut scores, cap });
                capped.clone_from(&scores);
            }
            self.take_off(block, &mut scores);
            let (scores_of, slopes_of) = (&mut scores, &mut slopes);
            self.isa.run(Slopes { scores: scores_of, towards: slopes_of, log_sums: &log_sums, along: &along });
            self.hide(block, &mut scores, 0.0);
            self.hide(block, &mut slopes, 0.0);
            if let Some(cap) = self.of_scores.cap {
                self.isa.run(Bend { capped: &capped, cap, d: &mut slopes });
            }

            met.resize(width * block.lanes, 0.0);
            let a = Strided { values: &self.keys, row: self.stride, step: 1 };
            let shape = [width, block.lanes, block.keys];
            multiply(self.isa, shape, &a, (&slopes, block.lanes), (&mut met, block.lanes), false);
            for stacked in 0..stack {
                for feature in 0..width {
                    let from = &met[feature * block.lanes + stacked * count..][..count];
                    gradient.queries[(stacked * width + feature) * length + block.first..][..count]
                        .copy_from_slice(from);
                }
            }
            let keys = block.keys.next_multiple_of(PAD);
            for (left, right, sums) in
                [(&queries, &slopes, &mut gradient.keys), (&towards, &scores, &mut gradient.values)]
            {
                transpose(right, block.lanes, keys, &mut turned);
                let a = Strided { values: left, row: block.lanes, step: 1 };
                multiply(self.isa, [width, keys, block.lanes], &a, (&turned, keys), (sums, self.stride), true);
            }
        }
        gradient
    }
}

/// `[rows][columns]` to `[columns][padded rows]`.
fn transpose(from: &[f32], columns: usize, padded: usize, to: &mut Vec<f32>) {
    to.clear();
    to.resize(columns * padded, 0.0);
    for (tile, rows) in from.chunks(PAD * columns).enumerate() {
        for (column, to) in to.chunks_exact_mut(padded).enumerate() {
            for (row, to) in rows.chunks_exact(columns).zip(&mut to[tile * PAD..]) {
                *to = row[column];
            }
        }
    }
}

/// A left side and how it is gone through.
struct Strided<'a> {
    values: &'a [f32],
    row: usize,
    step: usize,
}

/// C (+)= A·B on one thread; `[rows, columns, depth]`, B and C with the length of their rows.
fn multiply(
    isa: Isa,
    [rows, columns, depth]: [usize; 3],
    a: &Strided<'_>,
    (b, b_row): (&[f32], usize),
    (c, c_row): (&mut [f32], usize),
    accumulate: bool,
) {
    assert!(rows > 0 && depth > 0 && columns.is_multiple_of(PAD) && columns <= b_row && columns <= c_row);
    assert!(a.values.len() > (rows - 1) * a.row + (depth - 1) * a.step);
    assert!(b.len() >= (depth - 1) * b_row + columns && c.len() >= (rows - 1) * c_row + columns);
    let walk = Walk { start: a.values.as_ptr(), row: a.row, step: a.step, steps: depth, jump: 0, blocks: 1 };
    isa.run(Strip { rows, columns, a: walk, b: b.as_ptr(), b_row, c: c.as_mut_ptr(), c_row, accumulate });
}

/// Scores `[keys][lanes]` become exp(score − largest of the lane), with their sums.
struct Exponents<'a> {
    scores: &'a mut [f32],
    largest: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Exponents<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.largest.len();
        for row in self.scores.chunks_exact(lanes) {
            for (most, score) in self.largest.chunks_exact_mut(S::WIDTH).zip(row.chunks_exact(S::WIDTH)) {
                s.store(most, s.max(s.load(most), s.load(score)));
            }
        }
        for row in self.scores.chunks_exact_mut(lanes) {
            let columns = self.largest.chunks_exact(S::WIDTH).zip(self.sums.chunks_exact_mut(S::WIDTH));
            for (score, (most, sum)) in row.chunks_exact_mut(S::WIDTH).zip(columns) {
                let value = exp(s, s.sub(s.load(score), s.load(most)));
                s.store(score, value);
                s.store(sum, s.add(s.load(sum), value));
            }
        }
    }
}

/// Scores become probabilities p, and their slopes p · (slope − along).
struct Slopes<'a> {
    scores: &'a mut [f32],
    towards: &'a mut [f32],
    log_sums: &'a [f32],
    along: &'a [f32],
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.along.len();
        for (scores, slopes) in self.scores.chunks_exact_mut(lanes).zip(self.towards.chunks_exact_mut(lanes)) {
            let tables = self.log_sums.chunks_exact(S::WIDTH).zip(self.along.chunks_exact(S::WIDTH));
            let pairs = scores.chunks_exact_mut(S::WIDTH).zip(slopes.chunks_exact_mut(S::WIDTH));
            for ((score, slope), (log_sum, along)) in pairs.zip(tables) {
                let p = exp(s, s.sub(s.load(score), s.load(log_sum)));
                s.store(score, p);
                s.store(slope, s.mul(p, s.sub(s.load(slope), s.load(along))));
            }
        }
    }
}
