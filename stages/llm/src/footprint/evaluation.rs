use refit_checkpoint::Checkpoint;
use refit_kernels::{Isa, Panels};

use super::{DRIVERS, Footprint, NUMBER, PROGRAM, Pass, TOKENIZER_ENTRY, Trained, kept_weights, padded};
use crate::{
    generate::{Prompt, common_beginning},
    model::{Rows, TOKENS_AT_ONCE, WeightForm},
    train::LargestPass,
};

/// What an evaluation is asked to do: to answer prompts, and to measure the loss of rows after that.
pub struct EvaluationSizes<'a> {
    /// The form of the weights.
    pub form: WeightForm,
    /// Numbers of the adapter that is applied, if one is.
    pub adapter: usize,
    /// What is answered.
    pub prompts: &'a [Prompt],
    /// Rows whose loss is measured.
    pub rows: &'a dyn Rows,
    /// Prompts that are answered together.
    pub batch_size: usize,
    /// Tokens that each answer may have.
    pub max_new_tokens: usize,
    /// Whether it computes on the CPU because no GPU was found.
    pub looks_for_gpu: bool,
}

impl Footprint {
    /// Of an evaluation on a CPU in which every answer is as long as it may be.
    pub fn of_evaluation(checkpoint: &Checkpoint, sizes: &EvaluationSizes<'_>) -> Self {
        let config = checkpoint.config();
        let nothing = Trained::nothing(config);
        let (weights, _, loading) = kept_weights(checkpoint, sizes.form, &nothing);
        let pass = Pass { config, form: sizes.form, dropout: false, trained: &nothing };
        let drivers = if sizes.looks_for_gpu { DRIVERS } else { 0 };
        let (isa, losses) = (Isa::best(), LargestPass::of_validation(sizes.rows));
        Self {
            program: PROGRAM + drivers + TOKENIZER_ENTRY * config.vocab_size,
            weights,
            // The buffers of answering are given back before losses are measured; keys and values lie in many small pieces,
            // which the allocator keeps.
            passes: sizes.cache(&pass) + pass.there(isa.for_few_tokens(), sizes.reading()).max(pass.there(isa, losses)),
            // As it was read, as the fused pass shares it, and as tensors.
            trained: 3 * sizes.adapter * NUMBER,
            loading,
        }
    }
}

impl EvaluationSizes<'_> {
    /// The largest pass over prompts. Which are read together depends on when answers end: from each prompt on, as many as
    /// there are places for.
    fn reading(&self) -> LargestPass {
        let shared = common_beginning(self.prompts);
        let mut largest = LargestPass::default();
        for first in 0..self.prompts.len() {
            let (mut read, mut seen) = (0, 0);
            for prompt in self.prompts[first..].iter().take(self.batch_size) {
                if read > 0 && seen + prompt.ids.len() > TOKENS_AT_ONCE {
                    break;
                }
                seen += prompt.ids.len();
                read += 1;
            }
            largest.tokens = largest.tokens.max(shared + seen - read * shared);
            largest.targets = largest.targets.max(read);
            largest.seen = largest.seen.max(seen);
        }
        largest
    }

    /// Bytes of the keys and values of as many of the longest rows as are under way together.
    fn cache(&self, pass: &Pass<'_>) -> usize {
        let config = pass.config;
        let shared = common_beginning(self.prompts);
        let mut own: Vec<usize> = self.prompts.iter().map(|prompt| prompt.ids.len() - shared).collect();
        own.sort_unstable_by(|a, b| b.cmp(a));
        let own = own.into_iter().take(self.batch_size).map(|own| padded(own + self.max_new_tokens));
        let tokens = padded(shared) + own.sum::<usize>();
        tokens * config.layers * config.kv_heads * (config.head_dim + padded(config.head_dim)) * NUMBER
    }
}

impl Pass<'_> {
    /// Bytes of a pass without a way back: one tape for all blocks, what goes in and comes out, and the head's part.
    fn there(&self, isa: Isa, largest: LargestPass) -> usize {
        let (tokens, targets) = (padded(largest.tokens), padded(largest.targets));
        let hidden = self.config.hidden_size;
        let ends = 2 * hidden * tokens + hidden * targets;
        NUMBER * (self.tape(0, tokens, tokens) + self.buffers_there(tokens) + ends + self.head(targets))
            + Panels::bytes_of_number(isa, self.form.precision) * self.widest() * tokens
    }
}
