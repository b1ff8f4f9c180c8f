//! Causal attention of packed rows: each token sees the shared beginning and its own row up to itself.
//!
//! Scores exist for one block of queries of one row and one key head at a time. The query heads that share a key head
//! are laid beside each other, so that the keys are met once.

mod row;
mod softmax;

use rayon::prelude::*;

use crate::{Isa, Lanes, places::Places};
use row::{Room, Row};

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
///
/// # Panics
/// When segments overlap.
pub fn forward(
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'_>,
    segments: &[Segment],
    qkv: &Lanes,
    output: &mut Lanes,
) -> Vec<f32> {
    let stride = qkv.stride();
    prepare(output, shape.heads * shape.width, qkv.tokens(), segments);
    let mut log_sums = vec![0f32; shape.heads * stride];
    let to = [Places::new(output.values_mut(), stride), Places::new(&mut log_sums, stride)];
    tasks(shape, segments).par_iter().with_max_len(1).for_each(|&(head, segment)| {
        Room::lend(|room| Row::new(isa, shape, of_scores, head, segment, qkv, room).forward(room, &to));
    });
    log_sums
}

/// What [`backward`] reads of the forward pass, and the gradient it starts from.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// As [`forward`] took it.
    pub qkv: &'a Lanes,
    /// As [`forward`] returned it.
    pub log_sums: &'a [f32],
    /// The gradient by the output.
    pub d_output: &'a Lanes,
}

/// The gradient by queries, keys and values.
///
/// # Panics
/// When segments overlap.
pub fn backward(
    isa: Isa,
    shape: Shape,
    of_scores: Scores<'_>,
    segments: &[Segment],
    past: Past<'_>,
    d_qkv: &mut Lanes,
) {
    let (stride, width) = (past.qkv.stride(), shape.width);
    prepare(d_qkv, shape.features(), past.qkv.tokens(), segments);
    let tasks = tasks(shape, segments);
    let to = Places::new(d_qkv.values_mut(), stride);
    let towards_shared: Vec<Vec<f32>> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|&(head, segment)| {
            Room::lend(|room| Row::new(isa, shape, of_scores, head, segment, past.qkv, room).backward(room, past, &to))
        })
        .collect();
    if segments.iter().all(|segment| segment.before == 0) {
        return;
    }
    // Rows add to the keys and values of the shared beginning in their own order, always the same.
    let rows = d_qkv.rows_mut(shape.heads * width..shape.features()).par_chunks_mut(width * stride);
    rows.enumerate().for_each(|(part, rows)| {
        let (head, values) = (part % shape.key_heads, part / shape.key_heads);
        for (&(_, Segment { before, .. }), sums) in tasks.iter().zip(&towards_shared).filter(|((of, _), _)| *of == head)
        {
            let sums = &sums[values * width * before..(values + 1) * width * before];
            for (row, sums) in rows.chunks_exact_mut(stride).zip(sums.chunks_exact(before.max(1))) {
                row.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
            }
        }
    });
}

/// Gives a result its shape. What no segment writes is zero.
fn prepare(lanes: &mut Lanes, features: usize, tokens: usize, segments: &[Segment]) {
    if segments.iter().map(|segment| segment.length).sum::<usize>() < tokens {
        return lanes.reshape(features, tokens);
    }
    lanes.reuse(features, tokens);
    let stride = lanes.stride();
    if tokens < stride {
        lanes.values_mut().chunks_exact_mut(stride).for_each(|row| row[tokens..].fill(0.0));
    }
}

/// Each row with each key head. Tasks write to their rows without asking each other, so rows must not overlap.
fn tasks(shape: Shape, segments: &[Segment]) -> Vec<(usize, Segment)> {
    let mut places: Vec<_> = segments.iter().map(|segment| (segment.start, segment.length)).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "packed rows overlap");
    let rows = segments.iter().filter(|segment| segment.length > 0);
    rows.flat_map(|segment| (0..shape.key_heads).map(|head| (head, *segment))).collect()
}
