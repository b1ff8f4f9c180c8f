use rayon::prelude::*;

use crate::room::Numbers;

/// Rows are padded to a multiple of this many tokens.
pub(crate) const PAD: usize = 16;

/// Numbers that one task goes through where each is touched once.
pub(crate) const PER_TASK: usize = 1 << 14;

/// Activations: one row per feature, the tokens beside each other in it, padded with tokens that mean nothing.
///
/// What the padding holds is finite, and no result depends on it as long as gradients of padding are zero.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    features: usize,
    tokens: usize,
    values: Numbers,
}

impl Lanes {
    /// All zero.
    pub fn zeros(features: usize, tokens: usize) -> Self {
        let mut lanes = Self::default();
        lanes.reshape(features, tokens);
        lanes
    }

    /// Takes another shape and keeps the memory; the values are zero afterwards.
    pub fn reshape(&mut self, features: usize, tokens: usize) {
        self.reuse(features, tokens);
        self.values_mut().fill(0.0);
    }

    /// Takes another shape and keeps the memory, with whatever numbers are there.
    pub fn reuse(&mut self, features: usize, tokens: usize) {
        (self.features, self.tokens) = (features, tokens);
        self.values.reuse(features * self.stride());
    }

    /// Rows.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Tokens, without padding.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Length of a row: the tokens with their padding.
    pub fn stride(&self) -> usize {
        self.tokens.next_multiple_of(PAD)
    }

    /// All rows.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All rows.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// One feature of all tokens.
    pub fn row(&self, feature: usize) -> &[f32] {
        let stride = self.stride();
        &self.values()[feature * stride..(feature + 1) * stride]
    }

    /// Some features of all tokens.
    pub fn rows(&self, features: std::ops::Range<usize>) -> &[f32] {
        let stride = self.stride();
        &self.values()[features.start * stride..features.end * stride]
    }

    /// Some features of all tokens.
    pub fn rows_mut(&mut self, features: std::ops::Range<usize>) -> &mut [f32] {
        let stride = self.stride();
        &mut self.values_mut()[features.start * stride..features.end * stride]
    }

    /// All features of each token, one token after the other.
    pub fn columns(&self) -> Vec<Vec<f32>> {
        let tokens: Vec<usize> = (0..self.tokens).collect();
        let columns = tokens.par_chunks(PAD).flat_map(|tokens| {
            // A cache line holds one feature of 16 tokens, so these are taken together.
            let mut columns = vec![Vec::with_capacity(self.features); tokens.len()];
            for row in self.values().chunks_exact(self.stride()) {
                for (column, token) in columns.iter_mut().zip(tokens) {
                    column.push(row[*token]);
                }
            }
            columns
        });
        columns.collect()
    }

    /// Takes over shape and values of another.
    pub fn copy_from(&mut self, other: &Self) {
        self.reuse(other.features, other.tokens);
        self.values_mut().copy_from_slice(other.values());
    }

    /// Adds the values of another of the same shape.
    pub fn add(&mut self, other: &Self) {
        assert_eq!((self.features, self.tokens), (other.features, other.tokens), "shapes of a sum do not fit");
        let parts = other.values().par_chunks(PER_TASK);
        self.values_mut().par_chunks_mut(PER_TASK).zip(parts).for_each(|(to, from)| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        });
    }

    /// Takes some tokens of another, in this order. The padding repeats the last of them, so that it is as finite as they are.
    pub fn gather(&mut self, from: &Self, tokens: &[u32]) {
        self.reuse(from.features, tokens.len());
        let (stride, from_stride) = (self.stride(), from.stride());
        if tokens.is_empty() {
            return;
        }
        let last = tokens[tokens.len() - 1] as usize;
        self.values_mut().par_chunks_mut(stride).zip(from.values().par_chunks(from_stride)).for_each(|(to, from)| {
            for (to, token) in to.iter_mut().zip(tokens) {
                *to = from[*token as usize];
            }
            to[tokens.len()..].fill(from[last]);
        });
    }

    /// Adds each token of another to one of these, as [`Lanes::gather`] took them; a token taken twice gets both, in order.
    pub fn scatter(&mut self, from: &Self, tokens: &[u32]) {
        assert!(self.features == from.features && tokens.len() == from.tokens, "tokens do not fit");
        let (stride, from_stride) = (self.stride(), from.stride());
        if tokens.is_empty() {
            return;
        }
        self.values_mut().par_chunks_mut(stride).zip(from.values().par_chunks(from_stride)).for_each(|(to, from)| {
            for (from, token) in from.iter().zip(tokens) {
                to[*token as usize] += from;
            }
        });
    }
}
