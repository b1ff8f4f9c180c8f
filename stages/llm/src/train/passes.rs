use super::{
    Objective, TrainConfig,
    shard::{TOKENS_PER_PIECE, computed, pieces},
};
use crate::{
    model::{Row, Rows, common_prefix, portions},
    random::{self, Purpose},
};

/// The largest passes through a model that some rows ask for; what the fused pass keeps is in proportion to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LargestPass {
    /// Tokens that are computed.
    pub tokens: usize,
    /// Targets.
    pub targets: usize,
    /// Tokens that the rows of a pass see, a shared beginning counted for each.
    pub seen: usize,
}

impl LargestPass {
    /// Of a training over these rows: the batches of its first epochs are cut up as the training will do it. `together` rows make an example, at
    /// most `at_once` examples go through the model together, and rows share their beginnings if nothing random is drawn.
    pub fn of_training(rows: &dyn Rows, together: usize, at_once: usize, config: &TrainConfig, share: bool) -> Self {
        let examples = rows.len() / together;
        let (per_epoch, total) = (config.steps_per_epoch(examples), config.total_steps(examples));
        let mut largest = Self::default();
        for epoch in 0..total.div_ceil(per_epoch.max(1)).min(EPOCHS) {
            let order = epoch_order(examples, config, epoch);
            let steps = (total - epoch * per_epoch).min(per_epoch) as usize;
            for step in order.chunks(config.rows_per_step()).take(steps) {
                for batch in step.chunks(config.batch_size).flat_map(|batch| batch.chunks(at_once)) {
                    let members = batch.iter().flat_map(|example| example * together..(example + 1) * together);
                    let batch: Vec<Row<'_>> = members.map(|row| rows.row(row)).collect();
                    largest = largest.or(Self::of_batch(&batch, together, share));
                }
            }
        }
        largest
    }

    /// Examples that are to go through the model together once memory ran out so often: each time halved until that makes the
    /// largest pass smaller. None if it cannot be made small enough.
    pub fn smaller(objective: Objective<'_>, config: &TrainConfig, share: bool, shortages: u32) -> Option<usize> {
        let largest =
            |at_once| Self::of_training(objective.rows(), objective.together(), at_once, config, share).tokens;
        let mut at_once = config.batch_size;
        let mut tokens = largest(at_once);
        for _ in 0..shortages {
            let before = tokens;
            while tokens >= before {
                at_once = Some(at_once.div_ceil(2)).filter(|half| *half < at_once)?;
                tokens = largest(at_once);
            }
        }
        Some(at_once)
    }

    /// Of a validation over these rows.
    pub fn of_validation(rows: &dyn Rows) -> Self {
        let portions = portions(rows).into_iter().map(|portion| {
            let rows: Vec<Row<'_>> = portion.map(|row| rows.row(row)).collect();
            Self::of_part(&rows, common_prefix(&rows))
        });
        portions.fold(Self::default(), Self::or)
    }

    /// Of a training over rows of which only the most tokens of one are known.
    pub fn at_most(longest: usize, rows: usize) -> Self {
        let tokens = (rows * longest).min(longest.max(TOKENS_PER_PIECE));
        Self { tokens, targets: tokens, seen: tokens }
    }

    fn of_batch(batch: &[Row<'_>], together: usize, share: bool) -> Self {
        let prefix = |rows: &[Row<'_>]| if share { common_prefix(rows) } else { 0 };
        let parts = pieces(batch, prefix(batch), together).into_iter().map(|part| {
            let rows: Vec<Row<'_>> = part.iter().map(|&row| batch[row]).collect();
            Self::of_part(&rows, prefix(&rows))
        });
        parts.fold(Self::default(), Self::or)
    }

    fn of_part(rows: &[Row<'_>], prefix: usize) -> Self {
        let prefix = if rows.len() > 1 { prefix } else { 0 };
        Self {
            tokens: computed(rows, prefix),
            targets: rows.iter().map(Row::supervised).sum(),
            seen: rows.iter().map(Row::needed).sum(),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            targets: self.targets.max(other.targets),
            seen: self.seen.max(other.seen),
        }
    }
}

/// Epochs that are looked at: the batches of further ones are of the same lengths, about.
const EPOCHS: u64 = 64;

/// The order of examples in an epoch.
pub(super) fn epoch_order(examples: usize, config: &TrainConfig, epoch: u64) -> Vec<usize> {
    if config.shuffle {
        random::permutation(examples, &mut random::stream(config.seed, Purpose::Order, epoch))
    } else {
        (0..examples).collect()
    }
}
