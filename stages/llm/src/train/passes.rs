use std::collections::BTreeSet;

use super::{
    Objective, TrainConfig,
    shard::{TOKENS_PER_PIECE, computed, pieces},
};
use crate::{
    model::{Batch, PaddedBatch, PaddedGroup, Row, Rows, Sizes, common_prefix, portions},
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
    /// Of a training over these rows: `together` of them make an example, at most `at_once` examples go through the model
    /// together, and rows share their beginnings if nothing random is drawn.
    pub fn of_training(rows: &dyn Rows, together: usize, at_once: usize, config: &TrainConfig, share: bool) -> Self {
        let mut largest = Self::default();
        each_pass(rows, together, at_once, config, share, |rows, prefix| {
            largest = largest.or(Self::of_part(rows, prefix));
        });
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

/// The passes of a training by composed operations, each size once: on a GPU there are few, since what differs is padded.
#[derive(Debug, Clone, Default)]
pub struct PaddedPasses(BTreeSet<PaddedBatch>);

impl PaddedPasses {
    /// Of a training over these rows, as [`LargestPass::of_training`].
    pub fn of_training(rows: &dyn Rows, together: usize, config: &TrainConfig, share: bool) -> Self {
        let mut found = BTreeSet::new();
        each_pass(rows, together, config.batch_size, config, share, |rows, prefix| {
            found.insert(Batch::with_prefix(rows, prefix).padded(Sizes::Buckets));
        });
        Self(found)
    }

    /// Of a training over rows of which only the most tokens of one are known.
    pub fn at_most(longest: usize, rows: usize) -> Self {
        let LargestPass { tokens, targets, .. } = LargestPass::at_most(longest, rows);
        let size = |needed| Sizes::Buckets.of(needed);
        let groups =
            vec![PaddedGroup { rows: size(tokens.div_ceil(longest.max(1))), before: 0, queries: size(longest) }];
        Self(BTreeSet::from([PaddedBatch { tokens: size(tokens), targets: size(targets), groups }]))
    }

    /// All of them.
    pub(crate) fn each(&self) -> impl Iterator<Item = &PaddedBatch> {
        self.0.iter()
    }
}

/// Shows `see` the rows of every pass of a training, and how many tokens they share: the batches of its first epochs, cut up as
/// the training will do it.
fn each_pass(
    rows: &dyn Rows,
    together: usize,
    at_once: usize,
    config: &TrainConfig,
    share: bool,
    mut see: impl FnMut(&[Row<'_>], usize),
) {
    let prefix = |rows: &[Row<'_>]| if share && rows.len() > 1 { common_prefix(rows) } else { 0 };
    let examples = rows.len() / together;
    let (per_epoch, total) = (config.steps_per_epoch(examples), config.total_steps(examples));
    for epoch in 0..total.div_ceil(per_epoch.max(1)).min(EPOCHS) {
        let order = epoch_order(examples, config, epoch);
        let steps = (total - epoch * per_epoch).min(per_epoch) as usize;
        for step in order.chunks(config.rows_per_step()).take(steps) {
            for batch in step.chunks(config.batch_size).flat_map(|batch| batch.chunks(at_once)) {
                let members = batch.iter().flat_map(|example| example * together..(example + 1) * together);
                let batch: Vec<Row<'_>> = members.map(|row| rows.row(row)).collect();
                for part in pieces(&batch, prefix(&batch), together) {
                    let part: Vec<Row<'_>> = part.iter().map(|&row| batch[row]).collect();
                    see(&part, prefix(&part));
                }
            }
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
