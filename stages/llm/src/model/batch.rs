use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_checkpoint::ModelConfig;
use refit_kernels::attention::Segment;

use super::{
    attention::{AttentionGroup, AttentionPlan, PaddedGroup},
    head::Targets,
    rope::{Rope, RopeRows},
    sizes::Sizes,
};
use crate::{LlmError, train::Likelihood};

/// One tokenised row: ids, and for each whether it is a target (not 0) that the token before it has to predict.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// As long as `ids`.
    pub mask: &'a [u8],
}

impl Row<'_> {
    /// How many targets the row has. The first token has nothing before it and never is one.
    pub fn supervised(&self) -> usize {
        self.mask.iter().skip(1).filter(|&&m| m != 0).count()
    }

    /// Tokens that must go through the model: those up to the one that predicts the last target.
    pub(crate) fn needed(&self) -> usize {
        self.mask.iter().rposition(|&m| m != 0).unwrap_or(0)
    }
}

/// Rows laid end to end for one pass: linear layers see `[tokens, hidden]` without padding, attention stays inside a row.
///
/// Tokens that all rows begin with are computed once: they come first, and every row attends to them. This changes no
/// result beyond rounding, since a token depends only on those before it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Ids in the order of computation.
    pub(crate) ids: Vec<u32>,
    /// Place of each token in its row.
    positions: Vec<u32>,
    groups: Vec<AttentionGroup>,
    /// For each target: which token's hidden state predicts it.
    sources: Vec<u32>,
    /// For each target: its id.
    targets: Vec<u32>,
    /// For each target: which row it belongs to.
    pub(crate) target_rows: Vec<usize>,
    /// Indices of the rows in the order their own tokens are laid out.
    pub(crate) order: Vec<usize>,
    /// Own tokens of each row, in that order.
    pub(crate) own: Vec<usize>,
    /// Tokens of the longest row, those after its last target included.
    pub(crate) longest: usize,
}

/// The sizes of a [`Batch`] on a device, with what pads them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PaddedBatch {
    /// Tokens that go through the model.
    pub(crate) tokens: usize,
    pub(crate) targets: usize,
    pub(crate) groups: Vec<PaddedGroup>,
}

/// A row joins a group of rows padded to a common length for attention if it fills at least this share of it.
const GROUP_FILL: f64 = 0.6;

impl Batch {
    /// Lays out rows, sharing their common beginning if `share` is set.
    pub fn new(rows: &[Row<'_>], share: bool) -> Self {
        Self::with_prefix(rows, if share && rows.len() > 1 { common_prefix(rows) } else { 0 })
    }

    /// Lays out rows that share their first `prefix` tokens, which all of them have.
    pub(crate) fn with_prefix(rows: &[Row<'_>], prefix: usize) -> Self {
        let needed: Vec<&[u32]> = rows.iter().map(|row| &row.ids[..row.needed()]).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| (std::cmp::Reverse(needed[row].len()), row));

        let mut batch = Self {
            ids: needed.first().map_or(Vec::new(), |first| first[..prefix].to_vec()),
            positions: (0..prefix as u32).collect(),
            groups: Vec::new(),
            sources: Vec::new(),
            targets: Vec::new(),
            target_rows: Vec::new(),
            own: order.iter().map(|&row| needed[row].len() - prefix).collect(),
            order,
            longest: rows.iter().map(|row| row.ids.len()).max().unwrap_or(0),
        };
        if prefix > 0 {
            batch.groups.push(AttentionGroup { before: 0, spans: vec![(0, prefix)] });
        }
        let mut fullest = 0;
        for (&row, &own) in batch.order.iter().zip(&batch.own) {
            let start = batch.ids.len();
            batch.ids.extend(&needed[row][prefix..]);
            batch.positions.extend((prefix..prefix + own).map(|p| p as u32));
            if own > 0 {
                match batch.groups.last_mut() {
                    Some(group) if fullest > 0 && own as f64 >= GROUP_FILL * fullest as f64 => {
                        group.spans.push((start, own));
                    }
                    _ => {
                        fullest = own;
                        batch.groups.push(AttentionGroup { before: prefix, spans: vec![(start, own)] });
                    }
                }
            }
            for (place, _) in rows[row].mask.iter().enumerate().skip(1).filter(|(_, m)| **m != 0) {
                let source = place - 1;
                batch.sources.push(if source < prefix { source } else { start + source - prefix } as u32);
                batch.targets.push(rows[row].ids[place]);
                batch.target_rows.push(row);
            }
        }
        batch
    }

    /// Tokens that go through the model.
    pub fn computed(&self) -> usize {
        self.ids.len()
    }

    /// Targets in all rows.
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }

    /// The likelihood of each row, in the order they were given, from the losses of all targets.
    pub(crate) fn likelihoods(&self, losses: &[f64]) -> Vec<Likelihood> {
        let mut rows = vec![Likelihood::default(); self.order.len()];
        for (&row, loss) in self.target_rows.iter().zip(losses) {
            rows[row].log_p -= loss;
            rows[row].tokens += 1;
        }
        rows
    }

    /// Which token's hidden state predicts each target.
    pub(crate) fn sources(&self) -> &[u32] {
        &self.sources
    }

    /// Ids of the targets.
    pub(crate) fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// Place of each token in its row.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The rows as the fused attention takes them.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let spans = self.groups.iter().flat_map(|group| group.spans.iter().map(|span| (group.before, *span)));
        spans.map(|(before, (start, length))| Segment { start, length, before }).collect()
    }

    /// Its sizes with what pads them.
    pub(crate) fn padded(&self, sizes: Sizes) -> PaddedBatch {
        PaddedBatch {
            tokens: sizes.of(self.ids.len()),
            targets: sizes.of(self.targets.len()),
            groups: self.groups.iter().map(|group| group.padded(sizes)).collect(),
        }
    }

    /// The largest buffer that a pass over it needs: what it holds, and how many bytes.
    pub(crate) fn largest_buffer(&self, config: &ModelConfig, sizes: Sizes) -> (String, usize) {
        let tokens = sizes.of(self.ids.len());
        let widths = config.linears.iter().flat_map(|linear| config.linear_shape(linear.module));
        let features = tokens * widths.max().unwrap_or(0);
        let mut largest =
            (format!("the hidden states of {tokens} tokens that go through the model together"), features);
        for group in &self.groups {
            let PaddedGroup { rows, before, queries } = group.padded(sizes);
            let scores = rows * config.heads * queries * (before + queries);
            if scores > largest.1 {
                largest = (format!("the attention scores of {rows} rows of {} tokens each", before + queries), scores);
            }
        }
        (largest.0, largest.1 * size_of::<f32>())
    }

    /// What pads it repeats the last token, the last source and the last target: it is as finite as they are.
    pub(crate) fn on_device(&self, config: &ModelConfig, sizes: Sizes, rope: &Rope, device: &Device) -> DeviceBatch {
        let padded = |values: &[u32]| {
            let mut values = values.to_vec();
            values.resize(sizes.of(values.len()), values.last().copied().unwrap_or(0));
            values
        };
        let ids = padded(&self.ids);
        DeviceBatch {
            rope: rope.rows(&padded(&self.positions), self.longest),
            attention: AttentionPlan::new(&self.groups, ids.len(), sizes, config, device),
            tokens: ids.len(),
            ids: indices(&ids, device),
            sources: indices(&padded(&self.sources), device),
            targets: Targets::new(&padded(&self.targets), self.targets.len(), device),
        }
    }
}

/// Tables of a [`Batch`] on the device; all layers use the same.
pub(crate) struct DeviceBatch {
    pub(crate) ids: Tensor<1, Int>,
    /// Tokens that go through the model, those included that pad the pass.
    pub(crate) tokens: usize,
    pub(crate) rope: RopeRows,
    pub(crate) attention: AttentionPlan,
    pub(crate) sources: Tensor<1, Int>,
    pub(crate) targets: Targets,
}

pub(crate) fn indices(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Refuses a row that the model cannot take. `index` names it in the message.
pub(crate) fn check_row(row: Row<'_>, index: usize, config: &ModelConfig) -> Result<(), LlmError> {
    if let Some(&token) = row.ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        return Err(LlmError::TokenOutOfRange { row: index, token, vocabulary: config.vocab_size });
    }
    if row.ids.len() > config.max_positions {
        return Err(LlmError::RowTooLong { row: index, length: row.ids.len(), limit: config.max_positions });
    }
    if row.supervised() == 0 {
        return Err(LlmError::NothingSupervised { row: index });
    }
    Ok(())
}

/// Refuses a prompt that the model cannot take together with an answer of `longest` tokens.
pub(crate) fn check_prompt(prompt: &[u32], index: usize, longest: usize, config: &ModelConfig) -> Result<(), LlmError> {
    if prompt.is_empty() {
        return Err(LlmError::EmptyPrompt { row: index });
    }
    if let Some(&token) = prompt.iter().find(|&&id| id as usize >= config.vocab_size) {
        return Err(LlmError::TokenOutOfRange { row: index, token, vocabulary: config.vocab_size });
    }
    let length = prompt.len() + longest;
    if length > config.max_positions {
        return Err(LlmError::PromptTooLong { row: index, prompt: prompt.len(), longest, limit: config.max_positions });
    }
    Ok(())
}

/// Tokens that all rows begin with, of those that go through the model.
pub(crate) fn common_prefix(rows: &[Row<'_>]) -> usize {
    let Some((first, others)) = rows.split_first() else { return 0 };
    let first = &first.ids[..first.needed()];
    others.iter().fold(first.len(), |shared, row| {
        first[..shared].iter().zip(&row.ids[..row.needed()]).take_while(|(a, b)| a == b).count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_beginning_is_laid_out_once() {
        let (a, b) = ([1, 2, 3, 4, 5], [1, 2, 9, 8]);
        let rows = [Row { ids: &a, mask: &[0, 0, 0, 1, 1] }, Row { ids: &b, mask: &[0, 0, 1, 1] }];
        let batch = Batch::new(&rows, true);
        assert_eq!(batch.ids, [1, 2, 3, 4, 9]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 2]);
        assert_eq!(batch.sources, [2, 3, 1, 4]);
        assert_eq!(batch.targets, [4, 5, 9, 8]);
        assert_eq!(batch.target_rows, [0, 0, 1, 1]);
        let plain = Batch::new(&rows, false);
        assert_eq!(plain.ids, [1, 2, 3, 4, 1, 2, 9]);
        assert_eq!(plain.positions, [0, 1, 2, 3, 0, 1, 2]);
    }

    #[test]
    fn equal_rows_share_everything() {
        let ids = [5, 6, 7];
        let row = Row { ids: &ids, mask: &[0, 1, 1] };
        let batch = Batch::new(&[row, row], true);
        assert_eq!(batch.computed(), 2);
        assert_eq!(batch.supervised(), 4);
        assert_eq!(batch.groups.len(), 1);
    }

    #[test]
    fn tokens_after_the_last_target_are_not_computed() {
        let row = Row { ids: &[1, 2, 3, 4], mask: &[0, 1, 0, 0] };
        assert_eq!(Batch::new(&[row], true).ids, [1]);
    }
}
