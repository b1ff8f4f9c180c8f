use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::{Batch, LinearModule};
use crate::random::{self, Purpose};

/// Tokens whose entries are drawn together: as many as bits of a word of a [`Mask`].
const TOKENS: usize = 16;

/// What a training does at random to a pass: nothing by default.
///
/// All of it depends on the seed, and on what names a row in the whole training, layer, module and place in the row only: the
/// way rows are batched, the device, the number of threads, and stopping and resuming do not change it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Randomness {
    pub(crate) seed: u64,
    /// Probability of dropping an entry of LoRA's input.
    pub(crate) dropout: f64,
    /// NEFTune's α.
    pub(crate) neftune_alpha: f64,
}

impl Randomness {
    /// Whether tokens that several rows begin with are the same in all of them.
    pub(crate) fn lets_rows_share(&self) -> bool {
        self.dropout == 0.0 && self.neftune_alpha == 0.0
    }
}

/// The randomness of one pass.
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    randomness: Randomness,
    /// For each token of the pass: what names its row, how long that is, and its place in it.
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    row: u64,
    length: usize,
    place: u32,
}

impl Noise {
    /// That of a batch; `row` says what names each of its rows, and its length. Nothing if nothing is random.
    pub(crate) fn of(randomness: Randomness, batch: &Batch, row: impl Fn(usize) -> (u64, usize)) -> Option<Self> {
        if randomness.lets_rows_share() {
            return None;
        }
        let rows = batch.order.iter().zip(&batch.own);
        let tokens = rows.flat_map(|(&index, &tokens)| {
            let (row, length) = row(index);
            (0..tokens as u32).map(move |place| Token { row, length, place })
        });
        Some(Self { randomness, tokens: tokens.collect() })
    }

    /// That of a pass of so many tokens, of which the last are there only to pad it.
    #[must_use]
    pub(crate) fn padded(mut self, tokens: usize) -> Self {
        if let Some(last) = self.tokens.last().copied() {
            self.tokens.resize(tokens, last);
        }
        self
    }

    /// Whether entries are dropped.
    pub(crate) fn drops(&self) -> bool {
        self.randomness.dropout > 0.0
    }

    /// Which entries of the input of a linear layer stay, for some tokens of the pass or for all.
    pub(crate) fn mask(&self, layer: usize, module: LinearModule, width: usize, tokens: Option<&[u32]>) -> Mask {
        let chosen: Vec<Token> = match tokens {
            Some(some) => some.iter().map(|&token| self.tokens[token as usize]).collect(),
            None => self.tokens.clone(),
        };
        let threshold = (self.randomness.dropout * 65_536.0).round() as u32;
        let mut bits = vec![0u16; chosen.len().div_ceil(TOKENS) * width];
        bits.par_chunks_mut(width).zip(chosen.par_chunks(TOKENS)).for_each(|(bits, tokens)| {
            for (bit, token) in tokens.iter().enumerate() {
                let place = token.row.wrapping_mul(1 << 16) + (layer * LinearModule::COUNT + module.index()) as u64;
                let mut rng = random::stream(self.randomness.seed, Purpose::Dropout, place);
                rng.set_word_pos(u128::from(token.place) * width.div_ceil(2) as u128);
                for pair in bits.chunks_mut(2) {
                    let word = rng.next_u32();
                    for (bits, drawn) in pair.iter_mut().zip([word & 0xffff, word >> 16]) {
                        *bits |= u16::from(drawn >= threshold) << bit;
                    }
                }
            }
        });
        Mask { tokens: chosen.len(), width, factor: 65_536.0 / (65_536 - threshold) as f32, bits }
    }

    /// Adds NEFTune's noise to the embeddings of all tokens, `[tokens, hidden]`: uniform in ±α/√(L·d) for a row of L tokens
    /// (<https://arxiv.org/abs/2310.05914>).
    pub(crate) fn disturb(&self, embeddings: &mut [f32], hidden: usize) {
        if self.randomness.neftune_alpha == 0.0 {
            return;
        }
        embeddings.par_chunks_mut(hidden).zip(&self.tokens).for_each(|(values, token)| {
            let bound = (self.randomness.neftune_alpha / ((token.length * hidden) as f64).sqrt()) as f32;
            let mut rng = random::stream(self.randomness.seed, Purpose::Embedding, token.row);
            rng.set_word_pos(u128::from(token.place) * hidden as u128);
            for value in values {
                *value += (2.0 * random::unit(&mut rng) - 1.0) * bound;
            }
        });
    }

    /// The same for burn's path.
    pub(crate) fn disturbed(&self, embeddings: Tensor<2>, device: &Device) -> Tensor<2> {
        if self.randomness.neftune_alpha == 0.0 {
            return embeddings;
        }
        let [tokens, hidden] = embeddings.dims();
        let mut noise = vec![0f32; tokens * hidden];
        self.disturb(&mut noise, hidden);
        embeddings + Tensor::<2>::from_data(TensorData::new(noise, [tokens, hidden]), device)
    }
}

/// Which entries of `[tokens, width]` stay under dropout; they are scaled up, so that the mean stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    tokens: usize,
    width: usize,
    factor: f32,
    /// For 16 tokens each, one word for each feature.
    bits: Vec<u16>,
}

impl Mask {
    /// What an entry that stays is multiplied by.
    pub(crate) fn factor(&self) -> f32 {
        self.factor
    }

    /// For each feature, bits of 16 tokens: one word for each 16 tokens.
    pub(crate) fn words(&self, feature: usize) -> impl Iterator<Item = u16> + '_ {
        self.bits.iter().skip(feature).step_by(self.width).copied()
    }

    /// `[tokens, width]` for burn's path.
    pub(crate) fn tensor(&self, device: &Device) -> Tensor<2> {
        let (tokens, width) = (self.tokens, self.width);
        let mut values = vec![0f32; tokens * width];
        for (token, row) in values.chunks_exact_mut(width).enumerate() {
            let bits = &self.bits[token / TOKENS * width..];
            for (value, bits) in row.iter_mut().zip(bits) {
                *value = if bits >> (token % TOKENS) & 1 == 1 { self.factor } else { 0.0 };
            }
        }
        Tensor::from_data(TensorData::new(values, [tokens, width]), device)
    }
}
