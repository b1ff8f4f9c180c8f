//! Attention of single tokens over the keys and values that their rows have so far, for generation.
//!
//! Keys lie so that a vector holds one feature of several tokens, values so that it holds several features of one token:
//! scores and sums over tokens then need no sums within a vector, and a row is read from its beginning to its end once.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    attention::{Scores, Shape},
    cap::Cap,
    lanes::PAD,
    simd::{Kernel, Simd, exp},
};

/// Tokens of a page.
const PAGE: usize = PAD;

/// Features of the output that one task brings into lanes.
const FEATURES_PER_TASK: usize = 256;

/// Keys (turned) and values of some tokens in one layer, in pages of 16 tokens. What fills up the last page is zero.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    tokens: usize,
    /// `[page][key head][feature][token]`.
    keys: Vec<f32>,
    /// `[page][key head][token][feature, padded]`.
    values: Vec<f32>,
}

impl Pages {
    /// How many tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Adds tokens of a pass, whose queries, keys and values lie in `qkv` as [`crate::attention::forward`] takes them.
    pub fn extend(&mut self, shape: Shape, qkv: &Lanes, tokens: std::ops::Range<usize>) {
        let Shape { heads, key_heads, width } = shape;
        let padded = width.next_multiple_of(PAD);
        let first = self.tokens;
        self.tokens += tokens.len();
        let pages = self.tokens.div_ceil(PAGE);
        self.keys.resize(pages * key_heads * width * PAGE, 0.0);
        self.values.resize(pages * key_heads * PAGE * padded, 0.0);
        for head in 0..key_heads {
            for feature in 0..width {
                let key = &qkv.row((heads + head) * width + feature)[tokens.clone()];
                let value = &qkv.row((heads + key_heads + head) * width + feature)[tokens.clone()];
                for (at, (key, value)) in (first..).zip(key.iter().zip(value)) {
                    let (part, place) = (at / PAGE * key_heads + head, at % PAGE);
                    self.keys[(part * width + feature) * PAGE + place] = *key;
                    self.values[(part * PAGE + place) * padded + feature] = *value;
                }
            }
        }
    }
}

/// The attention's output for one token of each row, token `i` of `qkv` seeing `rows[i]`, its own key included, as far as the
/// window goes.
///
/// A row is two parts that follow each other: what it shares with other rows, and its own.
pub fn attend(isa: Isa, shape: Shape, of_scores: Scores<'_>, qkv: &Lanes, rows: &[[&Pages; 2]], output: &mut Lanes) {
    let Shape { heads, width, .. } = shape;
    assert_eq!(qkv.tokens(), rows.len(), "each token has a row");
    let attended: Vec<Vec<f32>> = rows
        .par_iter()
        .enumerate()
        .map(|(token, &pages)| {
            let queries = (0..heads * width).map(|feature| qkv.row(feature)[token]).collect();
            isa.run(Row { shape, of_scores, queries, pages })
        })
        .collect();
    output.reshape(heads * width, rows.len());
    let stride = output.stride();
    output.values_mut().par_chunks_mut(stride * FEATURES_PER_TASK).enumerate().for_each(|(task, some)| {
        for (offset, to) in some.chunks_exact_mut(stride).enumerate() {
            for (to, from) in to.iter_mut().zip(&attended) {
                *to = from[task * FEATURES_PER_TASK + offset];
            }
        }
    });
}

/// One token and the row that it sees.
struct Row<'a> {
    shape: Shape,
    of_scores: Scores<'a>,
    /// Turned and scaled, head by head; the output takes their place.
    queries: Vec<f32>,
    pages: [&'a Pages; 2],
}

impl Kernel for Row<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) -> Vec<f32> {
        let Shape { heads, key_heads, width } = self.shape;
        let stack = heads / key_heads;
        for key_head in 0..key_heads {
            let mut head = key_head * stack;
            let end = head + stack;
            while head < end {
                // Heads that share their keys go through them together, as far as there are registers.
                let together = match end - head {
                    4.. => self.heads::<S, 4>(s, key_head, head * width),
                    3 => self.heads::<S, 3>(s, key_head, head * width),
                    2 => self.heads::<S, 2>(s, key_head, head * width),
                    _ => self.heads::<S, 1>(s, key_head, head * width),
                };
                head += together;
            }
        }
        self.queries
    }
}

impl Row<'_> {
    /// `N` heads, whose queries begin at `first`.
    #[inline(always)]
    fn heads<S: Simd, const N: usize>(&mut self, s: S, key_head: usize, first: usize) -> usize {
        let Shape { key_heads, width, .. } = self.shape;
        let padded = width.next_multiple_of(PAD);
        let queries: [&[f32]; N] = std::array::from_fn(|head| &self.queries[first + head * width..][..width]);
        let places: usize = self.pages.iter().map(|pages| pages.tokens.next_multiple_of(PAGE)).sum();
        let mut scores: [Vec<f32>; N] = std::array::from_fn(|_| vec![f32::MIN; places]);
        let mut start = 0;
        for pages in self.pages {
            for (page, keys) in pages.keys.chunks_exact(width * PAGE).skip(key_head).step_by(key_heads).enumerate() {
                for vector in (0..PAGE).step_by(S::WIDTH) {
                    let mut sums = [s.splat(0.0); N];
                    for (feature, keys) in keys.chunks_exact(PAGE).enumerate() {
                        let keys = s.load(&keys[vector..]);
                        for (sum, query) in sums.iter_mut().zip(&queries) {
                            *sum = s.fma(s.splat(query[feature]), keys, *sum);
                        }
                    }
                    for (scores, sum) in scores.iter_mut().zip(sums) {
                        s.store(&mut scores[start + page * PAGE + vector..], sum);
                    }
                }
            }
            start += pages.tokens.next_multiple_of(PAGE);
        }
        for (head, scores) in (first / width..).zip(&mut scores) {
            self.bend(s, head, scores);
        }
        let sums = scores.each_mut().map(|scores| exponents(s, scores));
        let mut output = [(); N].map(|()| vec![0f32; padded]);
        let mut start = 0;
        for pages in self.pages {
            for (page, values) in pages.values.chunks_exact(PAGE * padded).skip(key_head).step_by(key_heads).enumerate()
            {
                let weights: [&[f32]; N] = scores.each_ref().map(|scores| &scores[start + page * PAGE..][..PAGE]);
                for vector in (0..padded).step_by(S::WIDTH) {
                    let mut sums: [S::Vector; N] = std::array::from_fn(|head| s.load(&output[head][vector..]));
                    for (token, values) in values.chunks_exact(padded).enumerate() {
                        let values = s.load(&values[vector..]);
                        for (sum, weights) in sums.iter_mut().zip(&weights) {
                            *sum = s.fma(s.splat(weights[token]), values, *sum);
                        }
                    }
                    for (output, sum) in output.iter_mut().zip(sums) {
                        s.store(&mut output[vector..], sum);
                    }
                }
            }
            start += pages.tokens.next_multiple_of(PAGE);
        }
        for (head, (output, sum)) in output.iter().zip(sums).enumerate() {
            for (to, value) in self.queries[first + head * width..][..width].iter_mut().zip(output) {
                *to = value / sum;
            }
        }
        N
    }
}

impl Row<'_> {
    /// What becomes of the scores of a head before the softmax; what the token does not see, and what fills up pages, is hidden.
    #[inline(always)]
    fn bend<S: Simd>(&self, s: S, head: usize, scores: &mut [f32]) {
        let Scores { window, cap, slopes } = self.of_scores;
        if let Some(cap) = cap {
            Cap { values: scores, cap }.run(s);
        }
        let tokens: usize = self.pages.iter().map(|pages| pages.tokens).sum();
        let (mut start, mut before) = (0, 0);
        for pages in self.pages {
            let end = start + pages.tokens.next_multiple_of(PAGE);
            if let Some(slopes) = slopes {
                for (key, score) in (before..).zip(&mut scores[start..start + pages.tokens]) {
                    *score -= slopes[head] * (tokens - 1 - key) as f32;
                }
            }
            let beyond = window.map_or(0, |window| tokens.saturating_sub(window + before).min(pages.tokens));
            scores[start..start + beyond].fill(f32::MIN);
            scores[start + pages.tokens..end].fill(f32::MIN);
            start = end;
            before += pages.tokens;
        }
    }
}

/// Scores become exp(score − largest); their sum. What lies beyond the last token is so far below that it adds nothing.
#[inline(always)]
fn exponents<S: Simd>(s: S, scores: &mut [f32]) -> f32 {
    let mut most = s.splat(f32::MIN);
    for scores in scores.chunks_exact(S::WIDTH) {
        most = s.max(most, s.load(scores));
    }
    let mut of_places = [f32::MIN; PAD];
    s.store(&mut of_places, most);
    let most = s.splat(of_places.into_iter().fold(f32::MIN, f32::max));
    let mut sums = s.splat(0.0);
    for scores in scores.chunks_exact_mut(S::WIDTH) {
        let value = exp(s, s.sub(s.load(scores), most));
        s.store(scores, value);
        sums = s.add(sums, value);
    }
    s.sum(sums)
}
