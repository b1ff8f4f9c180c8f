use refit_kernels::{
    Isa, Lanes,
    cached::{self, Pages},
};

use super::{
    Changes, FusedWeights, Memory,
    block::Shared,
    matrix::Matrix,
    pass::{embed, head_of, through},
};
use crate::{LlmError, Model, model::PromptBatch};

/// Rows under way in a generation: keys and values of all their tokens so far. One row is one lane.
///
/// What a row computes depends on the row and on `longest` alone, bit for bit: neither on the others nor on the number of
/// threads.
pub(crate) struct Decoder<'m> {
    model: &'m Model,
    weights: &'m FusedWeights,
    changes: Changes<'m>,
    memory: Memory,
    /// Tokens that all prompts begin with.
    prefix: usize,
    /// Tokens that the longest row can come to have: some rotary frequencies depend on it, and keys stay as they were turned.
    longest: usize,
    /// What they leave in each layer, once some prompt was read.
    shared: Vec<Pages>,
    rows: Vec<CachedRow>,
}

/// What one row has beside the shared beginning.
struct CachedRow {
    /// One for each layer.
    own: Vec<Pages>,
}

impl<'m> Decoder<'m> {
    /// For prompts that all begin with the same `prefix` tokens, and which with their answers have `longest` at most.
    pub(crate) fn new(model: &'m Model, prefix: usize, longest: usize) -> Result<Self, LlmError> {
        let weights = model.fused()?;
        let shared = vec![Pages::default(); weights.blocks.len()];
        let changes = Changes::applied(model)?;
        Ok(Self { model, weights, changes, memory: Memory::default(), prefix, longest, shared, rows: Vec::new() })
    }

    /// The instructions it computes with: the same for a prompt and for a step of few rows, so that neither changes what a row computes.
    pub(crate) fn isa(&self) -> Isa {
        self.weights.isa.for_few_tokens()
    }

    /// Reads prompts in one packed pass; each becomes a row behind those that are there. `logits` gets what follows the
    /// prompts, some of them at a time and in order.
    pub(crate) fn read(&mut self, prompts: &[&[u32]], logits: impl FnMut(&mut Lanes)) -> Result<(), LlmError> {
        let PromptBatch { batch, own, last, .. } = PromptBatch::new(prompts, Some(self.prefix));
        let first = self.rows.len();
        let none = || CachedRow { own: vec![Pages::default(); self.shared.len()] };
        self.rows.extend(prompts.iter().map(|_| none()));
        let pass = Shared::new(
            self.model,
            self.weights,
            &self.changes,
            (batch.positions(), self.longest),
            batch.segments(),
            None,
        )
        .for_few_tokens();
        embed(self.model, &self.changes, &batch.ids, None, self.memory.input())?;
        let (shared, rows, prefix) = (&mut self.shared, &mut self.rows, self.prefix);
        through(self.weights, &pass, Some(&last), &mut self.memory, |layer, scores, qkv, attended| {
            if shared[layer].tokens() < prefix {
                shared[layer].extend(pass.shape, qkv, 0..prefix);
            }
            for (row, tokens) in &own {
                rows[first + row].own[layer].extend(pass.shape, qkv, tokens.clone());
            }
            pass.attend(scores, qkv, attended)
        });
        self.say(logits);
        Ok(())
    }

    /// Adds one token to each row. `logits` gets what follows, some rows at a time and in order.
    pub(crate) fn step(&mut self, tokens: &[u32], logits: impl FnMut(&mut Lanes)) -> Result<(), LlmError> {
        let seen = |row: &CachedRow| (self.prefix + row.own[0].tokens()) as u32;
        let positions: Vec<u32> = self.rows.iter().map(seen).collect();
        let positions = (positions.as_slice(), self.longest);
        let pass = Shared::new(self.model, self.weights, &self.changes, positions, Vec::new(), None).for_few_tokens();
        embed(self.model, &self.changes, tokens, None, self.memory.input())?;
        let (shared, rows) = (&self.shared, &mut self.rows);
        through(self.weights, &pass, None, &mut self.memory, |layer, scores, qkv, attended| {
            for (token, row) in rows.iter_mut().enumerate() {
                row.own[layer].extend(pass.shape, qkv, token..token + 1);
            }
            let seen: Vec<[&Pages; 2]> = rows.iter().map(|row| [&shared[layer], &row.own[layer]]).collect();
            cached::attend(pass.isa, pass.shape, scores, qkv, &seen, attended);
            Vec::new()
        });
        self.say(logits);
        Ok(())
    }

    /// Keeps the rows that `kept` says.
    pub(crate) fn retain(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        self.rows.retain(|_| kept.next().is_none_or(|kept| *kept));
    }

    /// The head's part.
    fn say(&mut self, mut logits: impl FnMut(&mut Lanes)) {
        let own = head_of(self.model, &self.changes);
        let head = (Matrix::of_head(&self.weights.head, own.as_ref()), self.model.config().logit_cap);
        let isa = self.isa();
        let Memory { head: buffers, normed, .. } = &mut self.memory;
        buffers.in_blocks(isa, head, normed, |_, buffers| logits(&mut buffers.logits));
    }
}
