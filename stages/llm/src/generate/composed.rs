use burn::tensor::Tensor;
use refit_kernels::{Isa, Lanes};

use super::{
    cache::{LayerCache, PromptLayout},
    choice::Choice,
    generation::Decode,
};
use crate::{
    LlmError, Model,
    model::{DecoderPass, PromptBatch, Sizes, attend, decoder_layer, ids, indices, logits, most_likely, values},
};

/// Rows are dropped once that makes the cache smaller by at least this share: dropping copies the others' cache.
const DONE_BEFORE_COMPACTION: f64 = 0.25;

/// Rows under way, by burn operations. They begin together and end together.
pub(super) struct ComposedDecoder<'m> {
    model: &'m Model,
    /// Where the next token of each row stands. Rows are padded by copies of the last one; nothing reads those.
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
        let (cap, rows) = (self.model.config().logit_cap, self.positions.len());
        if choice.is_plain() {
            // The device can do that by itself.
            choice.tokens.extend(ids(most_likely(&hidden, head, cap))?.into_iter().take(rows));
            return Ok(());
        }
        let mut lanes = Lanes::zeros(head.len(), rows);
        let stride = lanes.stride();
        for (shard, logits) in head.shards().iter().zip(logits(&hidden, head, cap)) {
            let to = &mut lanes.values_mut()[shard.rows.start * stride..];
            for (row, logits) in values(logits)?.chunks_exact(shard.rows.len()).take(rows).enumerate() {
                for (to, logit) in to.chunks_exact_mut(stride).zip(logits) {
                    to[row] = *logit;
                }
            }
        }
        choice.choose(Isa::best(), &mut lanes);
        Ok(())
    }
}

/// One of a few sizes, by copies of the last.
fn padded<T: Clone>(sizes: Sizes, mut items: Vec<T>) -> Vec<T> {
    if let Some(last) = items.last().cloned() {
        items.resize(sizes.of(items.len()), last);
    }
    items
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
        let layout = PromptLayout::new(&padded(model.sizes, places), model.sizes, model.config(), model.device());
        let tables = model.tables(&batch)?;
        let last = indices(&padded(model.sizes, last), model.device());
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
        let rope = model.rope.rows(&padded(model.sizes, self.positions.clone()), self.longest);
        let mut caches = std::mem::take(&mut self.caches);
        let layout = self.layout.as_mut().expect("invariant: there are rows once prompts were read");
        layout.begin_step();
        let mut hidden = model.embed(indices(&padded(model.sizes, tokens.to_vec()), model.device()));
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
        let [before, after] = [all, all - done].map(|rows| self.model.sizes.of(rows) as f64);
        after <= (1.0 - DONE_BEFORE_COMPACTION) * before
    }

    fn retain(&mut self, kept: &[bool]) {
        let rows: Vec<u32> = (0..).zip(kept).filter_map(|(row, kept)| kept.then_some(row)).collect();
        self.positions = rows.iter().map(|row| self.positions[*row as usize]).collect();
        if rows.is_empty() {
            (self.layout, self.caches) = (None, Vec::new());
            return;
        }
        let rows = padded(self.model.sizes, rows);
        if let Some(layout) = &mut self.layout {
            layout.keep(&rows);
        }
        let rows = indices(&rows, self.model.device());
        self.caches.iter_mut().for_each(|cache| cache.keep(&rows));
    }
}
