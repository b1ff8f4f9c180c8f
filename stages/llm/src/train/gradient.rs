use super::{Trainable, composed::composed_gradients, likelihood::Likelihood, shard::pieces, workers::Workers};
use crate::{
    LlmError, Model,
    fused::{self, ComputePath, TargetWeights},
    model::{Batch, Noise, Randomness, Row, Rows, SupervisedLoss, common_prefix},
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
    pub(super) fn together(&self) -> usize {
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
    pub(super) fn of(batch: &Batch, rows: &[NamedRow<'_>], losses: &[f64]) -> Self {
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
pub(super) fn target_weights(by: &dyn RowWeights, batch: &Batch, rows: &[NamedRow<'_>], losses: &[f64]) -> Vec<f32> {
    let slopes = by.slopes(&placed(batch, rows, losses));
    batch.target_rows.iter().map(|&row| -slopes[row] as f32).collect()
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
    accumulate_step(model, trained, &[rows], weights, randomness, workers, total)
}

/// [`accumulate`] for the batches of an optimizer step: several devices share all of them out.
pub(super) fn accumulate_step(
    model: &Model,
    trained: &dyn Trainable,
    batches: &[&[NamedRow<'_>]],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    // The head's own gradient is summed up before rows are weighed.
    if let (Weights::ByRow(_), Some(head)) = (weights, trained.head(model.config())) {
        return Err(LlmError::UntrainableWeight { name: trained.name_of(head.start) });
    }
    if !ComputePath::of(model).is_fused() {
        return composed_gradients(model, trained, batches, weights, randomness, workers, total);
    }
    let mut passed = Passed::default();
    for rows in batches {
        passed.add(fused_gradient(model, trained, rows, weights, randomness, workers, total)?);
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
pub(super) fn lay_out(rows: &[NamedRow<'_>], randomness: Randomness) -> (Batch, Option<Noise>) {
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let batch = Batch::new(&plain, randomness.lets_rows_share());
    let noise = Noise::of(randomness, &batch, |row| (rows[row].name, rows[row].row.ids.len()));
    (batch, noise)
}
