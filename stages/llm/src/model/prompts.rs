use std::ops::Range;

use super::{Batch, Row, common_prefix};

/// Prompts laid out for one pass that says what follows each of them.
pub(crate) struct PromptBatch {
    pub(crate) batch: Batch,
    /// Tokens that all prompts begin with; they come first.
    pub(crate) prefix: usize,
    /// Where the other tokens of each prompt lie, in the order of computation.
    pub(crate) own: Vec<(usize, Range<usize>)>,
    /// Of each prompt, in the order they were given: which token's hidden state says what follows.
    pub(crate) last: Vec<u32>,
}

impl PromptBatch {
    /// With a common beginning of so many tokens, or as many as there are.
    pub(crate) fn new(prompts: &[&[u32]], prefix: Option<usize>) -> Self {
        // A row's last token is only ever predicted, so a prompt is a row with one more, of which nothing is read.
        let rows: Vec<(Vec<u32>, Vec<u8>)> = prompts
            .iter()
            .map(|prompt| {
                let mut mask = vec![0; prompt.len()];
                mask.push(1);
                (prompt.iter().copied().chain([0]).collect(), mask)
            })
            .collect();
        let rows: Vec<Row<'_>> = rows.iter().map(|(ids, mask)| Row { ids, mask }).collect();
        let prefix = prefix.unwrap_or_else(|| if rows.len() > 1 { common_prefix(&rows) } else { 0 });
        let batch = Batch::with_prefix(&rows, prefix);
        let mut start = prefix;
        let own = batch.order.iter().zip(&batch.own).map(|(&row, &own)| {
            let tokens = start..start + own;
            start = tokens.end;
            (row, tokens)
        });
        let own = own.collect();
        let mut last = vec![0; prompts.len()];
        for (&row, &source) in batch.target_rows.iter().zip(batch.sources()) {
            last[row] = source;
        }
        Self { batch, prefix, own, last }
    }
}
