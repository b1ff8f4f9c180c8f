use std::ops::Range;

use burn::tensor::{Tensor, Transaction};

use super::{
    Trainable,
    shard::{pieces, shards},
    workers::Workers,
};
use crate::{
    LlmError, Model,
    fused::{self, ComputePath},
    model::{Batch, HeadOutput, Noise, Randomness, Row, SupervisedLoss, common_prefix, lm_head_loss, values},
};

/// A row of a batch and what names it in the whole training, for what is random.
#[derive(Clone, Copy)]
pub(crate) struct NamedRow<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) name: u64,
}

/// Loss and gradient of some rows.
struct Gradient {
    loss: SupervisedLoss,
    parts: Vec<(Range<usize>, Vec<f32>)>,
}

/// Adds the gradient of one batch, times `weight`, to `total`, in the order of [`Trainable::values`]: the sum over
/// targets, so that with `weight` = 1 / targets of the whole optimizer step it does not matter how rows are cut into
/// batches.
pub(crate) fn accumulate(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weight: f64,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    if ComputePath::of(model).is_fused() {
        fused_gradient(model, trained, rows, weight, randomness, workers, total)
    } else {
        composed_gradient(model, trained, rows, weight, randomness, workers, total)
    }
}

/// [`accumulate`] by burn operations: on any device, with everything a method may ask for.
pub(crate) fn composed_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weight: f64,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    let share = randomness.lets_rows_share();
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let parts = if model.on_cpu() {
        shards(&plain, if share { common_prefix(&plain) } else { 0 })
    } else {
        vec![(0..rows.len()).collect()]
    };
    let gradients = workers.map(model, parts.len(), |part| {
        let rows: Vec<NamedRow<'_>> = parts[part].iter().map(|&index| rows[index]).collect();
        shard_gradient(model, trained, &rows, weight, randomness)
    })?;
    let mut loss = SupervisedLoss::default();
    for gradient in gradients {
        loss.sum += gradient.loss.sum;
        loss.supervised += gradient.loss.supervised;
        for (range, values) in gradient.parts {
            total[range].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }
    Ok(loss)
}

/// [`accumulate`] by the fused pass, in as few pieces as memory allows.
fn fused_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weight: f64,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let share = randomness.lets_rows_share();
    workers.together(|memory| {
        let mut loss = SupervisedLoss::default();
        let changes = trained.changes(model)?;
        for piece in pieces(&plain, if share { common_prefix(&plain) } else { 0 }) {
            let rows: Vec<NamedRow<'_>> = piece.iter().map(|&row| rows[row]).collect();
            let (batch, noise) = lay_out(&rows, randomness);
            let part = fused::gradient(model, &changes, &batch, noise.as_ref(), weight, memory, total)?;
            loss.sum += part.sum;
            loss.supervised += part.supervised;
        }
        Ok(loss)
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
    weight: f64,
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
    let head = lm_head_loss(
        hidden.clone().inner(),
        &model.head(),
        model.config().logit_cap,
        &tables.targets,
        HeadOutput::Gradient,
    );
    // The head's gradient is known in closed form; this product has exactly that gradient.
    let towards = head.gradient.expect("invariant: it was asked for") * weight;
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
    let losses = values(head.losses)?;
    let loss = SupervisedLoss { sum: losses.iter().map(|l| f64::from(*l)).sum(), supervised: losses.len() };
    Ok(Gradient { loss, parts })
}
