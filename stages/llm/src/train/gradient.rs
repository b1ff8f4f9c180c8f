use std::ops::Range;

use burn::tensor::{Tensor, TensorData, Transaction};

use super::{
    Trainable,
    likelihood::Likelihood,
    shard::{pieces, shards},
    workers::Workers,
};
use crate::{
    LlmError, Model,
    fused::{self, ComputePath, TargetWeights},
    model::{Batch, HeadOutput, Noise, Randomness, Row, Rows, SupervisedLoss, common_prefix, lm_head_loss, values},
};

/// A row of a batch, its place among all rows, and what names it in the whole training, for what is random.
#[derive(Clone, Copy)]
pub(crate) struct NamedRow<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) index: usize,
    pub(crate) name: u64,
}

impl<'a> NamedRow<'a> {
    /// Every row, named by its place.
    pub(crate) fn all(rows: &'a (impl Rows + ?Sized)) -> Vec<Self> {
        (0..rows.len()).map(|index| Self { row: rows.row(index), index, name: index as u64 }).collect()
    }
}

/// [`accumulate`] or what stands in for it.
#[cfg(test)]
pub(crate) type GradientBy = fn(
    &Model,
    &dyn Trainable,
    &[NamedRow<'_>],
    Weights<'_>,
    Randomness,
    &mut Workers,
    &mut [f32],
) -> Result<Passed, LlmError>;

/// How much the losses −ln p of some targets weigh in the gradient.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// All alike. With 1 / targets of the whole optimizer step it does not matter how rows are cut into batches.
    Every(f64),
    /// Those of a row by the row's likelihood.
    ByRow(&'a dyn RowWeights),
}

/// Weights that depend on the likelihoods of rows, and so are known once a pass has gone forward.
pub(crate) trait RowWeights: Sync {
    /// How many rows, one after the other, have a say in each other's weight. They stay in one pass.
    fn together(&self) -> usize;

    /// How the loss changes with the log-likelihood of each of these rows, given their places among all rows.
    fn slopes(&self, rows: &[(usize, Likelihood)]) -> Vec<f64>;
}

impl Weights<'_> {
    fn together(&self) -> usize {
        match self {
            Self::Every(_) => 1,
            Self::ByRow(rows) => rows.together(),
        }
    }
}

/// What the forward passes over some rows found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Passed {
    pub(crate) loss: SupervisedLoss,
    /// The likelihood of each row, with its place among all rows.
    pub(crate) rows: Vec<(usize, Likelihood)>,
}

impl Passed {
    fn of(batch: &Batch, rows: &[NamedRow<'_>], losses: &[f64]) -> Self {
        Self { loss: SupervisedLoss::of(losses), rows: placed(batch, rows, losses) }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.loss.sum += other.loss.sum;
        self.loss.supervised += other.loss.supervised;
        self.rows.extend(other.rows);
    }
}

fn placed(batch: &Batch, rows: &[NamedRow<'_>], losses: &[f64]) -> Vec<(usize, Likelihood)> {
    rows.iter().map(|named| named.index).zip(batch.likelihoods(losses)).collect()
}

/// The weight of each target's loss. A likelihood falls as the loss rises.
fn target_weights(by: &dyn RowWeights, batch: &Batch, rows: &[NamedRow<'_>], losses: &[f64]) -> Vec<f32> {
    let slopes = by.slopes(&placed(batch, rows, losses));
    batch.target_rows.iter().map(|&row| -slopes[row] as f32).collect()
}

/// What one shard's forward pass found, and its gradient.
struct Gradient {
    passed: Passed,
    parts: Vec<(Range<usize>, Vec<f32>)>,
}

/// Adds the gradient of one batch, weighed, to `total`, in the order of [`Trainable::values`].
pub(crate) fn accumulate(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    // The head's own gradient is summed up before rows are weighed.
    if let (Weights::ByRow(_), Some(head)) = (weights, trained.head(model.config())) {
        return Err(LlmError::UntrainableWeight { name: trained.name_of(head.start) });
    }
    if ComputePath::of(model).is_fused() {
        fused_gradient(model, trained, rows, weights, randomness, workers, total)
    } else {
        composed_gradient(model, trained, rows, weights, randomness, workers, total)
    }
}

/// [`accumulate`] by burn operations: on any device, with everything a method may ask for.
pub(crate) fn composed_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    let share = randomness.lets_rows_share();
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let parts = if model.on_cpu() {
        shards(&plain, if share { common_prefix(&plain) } else { 0 }, weights.together())
    } else {
        vec![(0..rows.len()).collect()]
    };
    let gradients = workers.map(model, parts.len(), |part| {
        let rows: Vec<NamedRow<'_>> = parts[part].iter().map(|&index| rows[index]).collect();
        shard_gradient(model, trained, &rows, weights, randomness)
    })?;
    let mut passed = Passed::default();
    for gradient in gradients {
        passed.add(gradient.passed);
        for (range, values) in gradient.parts {
            total[range].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(passed)
}

/// [`accumulate`] by the fused pass, in as few pieces as memory allows.
fn fused_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let share = randomness.lets_rows_share();
    workers.together(|memory| {
        let mut passed = Passed::default();
        let changes = trained.changes(model)?;
        for piece in pieces(&plain, if share { common_prefix(&plain) } else { 0 }, weights.together()) {
            let rows: Vec<NamedRow<'_>> = piece.iter().map(|&row| rows[row]).collect();
            let (batch, noise) = lay_out(&rows, randomness);
            let by_row;
            let towards = match weights {
                Weights::Every(weight) => TargetWeights::Every(weight as f32),
                Weights::ByRow(by) => {
                    by_row = |losses: &[f64]| target_weights(by, &batch, &rows, losses);
                    TargetWeights::Each(&by_row)
                }
            };
            let losses = fused::gradient(model, &changes, &batch, noise.as_ref(), towards, memory, total)?;
            passed.add(Passed::of(&batch, &rows, &losses));
        }
        Ok(passed)
    })
}

/// Rows laid out for one pass, with what is random in it.
fn lay_out(rows: &[NamedRow<'_>], randomness: Randomness) -> (Batch, Option<Noise>) {
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let batch = Batch::new(&plain, randomness.lets_rows_share());
    let noise = Noise::of(randomness, &batch, |row| (rows[row].name, rows[row].row.ids.len()));
    (batch, noise)
}

/// Forward and backward of one shard. What is trained is tracked anew, so each shard records a graph of its own and
/// shards can run side by side.
fn shard_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
) -> Result<Gradient, LlmError> {
    let (batch, noise) = lay_out(rows, randomness);
    let tables = model.tables(&batch);
    let mut leaves: Vec<(Range<usize>, Tensor<2>)> = Vec::new();
    let tracked = trained.place(model, &mut |range, shape| {
        let leaf = model.leaf(trained, range.clone(), shape).autodiff().require_grad();
        leaves.push((range, leaf.clone()));
        leaf
    })?;
    let hidden = tracked.supervised_hidden(&tables, noise.as_ref());
    let trained_head = trained.head(model.config());
    let (weight_of_head, want) = match &trained_head {
        Some(range) => {
            let shape = [model.config().vocab_size, model.config().hidden_size];
            (model.leaf(trained, range.clone(), shape), HeadOutput::BothGradients)
        }
        None => (model.head(), HeadOutput::Gradient),
    };
    let head = lm_head_loss(hidden.clone().inner(), &weight_of_head, model.config().logit_cap, &tables.targets, want);
    let losses: Vec<f64> = values(head.losses)?.into_iter().map(f64::from).collect();
    // The head's gradient is known in closed form; this product has exactly that gradient.
    let towards = head.gradient.expect("invariant: it was asked for");
    let towards = match weights {
        Weights::Every(weight) => towards * weight,
        Weights::ByRow(by) => {
            let weights = target_weights(by, &batch, rows, &losses);
            let shape = [weights.len(), 1];
            towards * Tensor::<2>::from_data(TensorData::new(weights, shape), model.device())
        }
    };
    let mut gradients = (hidden * towards).sum().backward();

    let mut reading = Transaction::default();
    let mut read = Vec::with_capacity(leaves.len());
    for (range, leaf) in leaves {
        if let Some(gradient) = leaf.grad_remove(&mut gradients) {
            reading = reading.register(gradient);
            read.push(range);
        }
    }
    let device = |error: &dyn std::fmt::Debug| LlmError::Device { reason: format!("{error:?}") };
    let mut parts = Vec::with_capacity(read.len());
    for (range, data) in read.into_iter().zip(reading.try_execute().map_err(|e| device(&e))?) {
        parts.push((range, data.as_slice::<f32>().map_err(|e| device(&e))?.to_vec()));
    }
    if let (Some(range), Some(by_head), Weights::Every(weight)) = (trained_head, head.by_head, weights) {
        parts.push((range, values(by_head * weight)?));
    }
    Ok(Gradient { passed: Passed::of(&batch, rows, &losses), parts })
}
