use std::collections::BTreeSet;

use rayon::prelude::*;
use refit_kernels::{Isa, Lanes, cross_entropy};

use super::{Answer, Prompt, Sampling};

/// One answer under way.
pub(super) struct Underway<'a> {
    pub(super) prompt: &'a Prompt,
    /// Place of the prompt among all.
    pub(super) index: usize,
    pub(super) answer: Answer,
    /// Whether it has its end; then it only waits to be dropped.
    pub(super) done: bool,
    /// Tokens of prompt and answer, if they matter.
    seen: BTreeSet<u32>,
}

impl<'a> Underway<'a> {
    pub(super) fn new(prompt: &'a Prompt, index: usize, sampling: &Sampling) -> Self {
        let seen = if sampling.penalises() { prompt.ids.iter().copied().collect() } else { BTreeSet::new() };
        Self { prompt, index, answer: Answer::default(), done: false, seen }
    }

    /// Adds a token to the answer.
    pub(super) fn say(&mut self, token: u32, sampling: &Sampling) {
        self.answer.ids.push(token);
        if sampling.penalises() {
            self.seen.insert(token);
        }
    }
}

/// Chooses the next token of some answers.
pub(super) struct Choice<'a> {
    pub(super) sampling: Sampling,
    pub(super) rows: &'a [Underway<'a>],
    /// What was chosen, in the order of the rows.
    pub(super) tokens: Vec<u32>,
}

impl Choice<'_> {
    /// Whether all that is wanted is the most likely token.
    pub(super) fn is_plain(&self) -> bool {
        self.sampling.is_plain()
    }

    /// Chooses for the next rows by their logits.
    pub(super) fn choose(&mut self, isa: Isa, logits: &mut Lanes) {
        let rows = &self.rows[self.tokens.len()..][..logits.tokens()];
        let sampling = self.sampling;
        if sampling.penalises() {
            for (token, row) in rows.iter().enumerate() {
                sampling.penalise(logits, token, &row.seen);
            }
        }
        if sampling.temperature == 0.0 {
            self.tokens.extend(cross_entropy::most_likely(isa, logits));
            return;
        }
        let columns = logits.columns();
        self.tokens.par_extend(
            columns
                .par_iter()
                .zip(rows)
                .map(|(logits, row)| sampling.draw(logits, row.prompt.name, row.answer.ids.len())),
        );
    }
}
