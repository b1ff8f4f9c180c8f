use burn::tensor::Tensor;
use refit_kernels::{Isa, Lanes};

use super::{
    cache::{LayerCache, PromptLayout},
    choice::Choice,
    generation::Decode,
};
use crate::{
    LlmError, Model,
    model::{DecoderPass, PromptBatch, attend, decoder_layer, ids, indices, logits, most_likely, values},
};

/// Rows are dropped once at least this share of them is done: dropping copies the others' cache.
const DONE_BEFORE_COMPACTION: f64 = 0.25;

/// Rows under way, by burn operations. They begin together and end together.
pub(super) struct ComposedDecoder<'m> {
    model: &'m Model,
    /// Where the next token of each row stands.
    positions: Vec<u32>,
    /// Tokens that the longest row can come to have: some rotary frequencies depend on it, and keys stay as they were turned.
    longest: usize,
    layout: Option<PromptLayout>,
    caches: Vec<LayerCache>,
}

impl<'m> ComposedDecoder<'m> {
    pub(super) fn new(model: &'m Model, longest: usize) -> Self {
        Self { model, positions: Vec::new(), longest, layout: None, caches: Vec::new() }
    }

    /// The head's part, for hidden states `[rows, hidden]`.
    fn choose(&self, hidden: Tensor<2>, choice: &mut Choice<'_>) -> Result<(), LlmError> {
        let (hidden, head) = (self.model.norm.forward(hidden), &self.model.head);
        let cap = self.model.config().logit_cap;
        if choice.is_plain() {
            // The device can do that by itself.
            choice.tokens.extend(ids(most_likely(&hidden, head, cap))?);
            return Ok(());
        }
        let mut lanes = Lanes::zeros(head.len(), hidden.dims()[0]);
        let stride = lanes.stride();
        for (shard, logits) in head.shards().iter().zip(logits(&hidden, head, cap)) {
            let to = &mut lanes.values_mut()[shard.rows.start * stride..];
            for (row, logits) in values(logits)?.chunks_exact(shard.rows.len()).enumerate() {
                for (to, logit) in to.chunks_exact_mut(stride).zip(logits) {
                    to[row] = *logit;
                }
            }
        }
        choice.choose(Isa::best(), &mut lanes);
        Ok(())
    }
}

impl Decode for ComposedDecoder<'_> {
    const JOINS: bool = false;

    /// One pass over the packed prompts.
    fn read(&mut self, prompts: &[&[u32]], choice: &mut Choice<'_>) -> Result<(), LlmError> {
        let PromptBatch { mut batch, prefix, own, last } = PromptBatch::new(prompts, None);
        batch.longest = self.longest;
        let mut places = vec![Vec::new(); prompts.len()];
        for (row, tokens) in own {
            places[row] = (0..prefix).chain(tokens).collect();
        }
        let model = self.model;
        let layout = PromptLayout::new(&places, model.config(), model.device());
        let tables = model.tables(&batch)?;
        let last = indices(&last, model.device());
        let mut caches = Vec::with_capacity(model.layers.len());
        let mut hidden = model.embed(tables.ids.clone());
        for (index, layer) in model.layers.iter().enumerate() {
            let keep = (index + 1 == model.layers.len()).then_some(&last);
            let pass = DecoderPass { keep, ..DecoderPass::new(model, index, &tables.rope) };
            hidden = decoder_layer(layer, pass, hidden, |query, key, value| {
                caches.push(layout.cache(key.clone(), value.clone()));
                attend(query, key, value, &tables.attention, index)
            });
        }
        self.positions = prompts.iter().map(|prompt| prompt.len() as u32).collect();
        (self.layout, self.caches) = (Some(layout), caches);
        self.choose(hidden, choice)
    }

    fn step(&mut self, tokens: &[u32], choice: &mut Choice<'_>) -> Result<(), LlmError> {
        let model = self.model;
        let rope = model.rope.rows(&self.positions, self.longest);
        let mut caches = std::mem::take(&mut self.caches);
        let layout = self.layout.as_ref().expect("invariant: there are rows once prompts were read");
        let mut hidden = model.embed(indices(tokens, model.device()));
        for (index, (layer, cache)) in model.layers.iter().zip(&mut caches).enumerate() {
            hidden = decoder_layer(layer, DecoderPass::new(model, index, &rope), hidden, |query, key, value| {
                cache.attend(layout, index, query, key, value)
            });
        }
        self.caches = caches;
        self.positions.iter_mut().for_each(|position| *position += 1);
        self.choose(hidden, choice)
    }

    fn drops(&self, done: usize, all: usize) -> bool {
        done > 0 && done as f64 >= DONE_BEFORE_COMPACTION * all as f64
    }

    fn retain(&mut self, kept: &[bool]) {
        let rows: Vec<u32> = (0..).zip(kept).filter_map(|(row, kept)| kept.then_some(row)).collect();
        self.positions = rows.iter().map(|row| self.positions[*row as usize]).collect();
        if rows.is_empty() {
            (self.layout, self.caches) = (None, Vec::new());
            return;
        }
        if let Some(layout) = &mut self.layout {
            layout.keep(&rows);
        }
        let rows = indices(&rows, self.model.device());
        self.caches.iter_mut().for_each(|cache| cache.keep(&rows));
    }
}
