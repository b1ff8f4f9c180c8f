use burn::tensor::{Tensor, Transaction};

use super::{
    shard::{pieces, shards},
    workers::Workers,
};
use crate::{
    LlmError, Model,
    adapter::{Adapter, Part},
    fused::{self, ComputePath},
    model::{
        Batch, Dropout, HeadOutput, LoraPair, LoraWeights, Row, SupervisedLoss, common_prefix, lm_head_loss, values,
    },
};

/// A row of a batch and what names it in the whole training, for dropout.
#[derive(Clone, Copy)]
pub(crate) struct NamedRow<'a> {
    pub(crate) row: Row<'a>,
    pub(crate) name: u64,
}

/// Loss and gradient of some rows.
pub(crate) struct Gradient {
    pub(crate) loss: SupervisedLoss,
    /// In the order of [`Adapter::values`].
    pub(crate) values: Vec<f32>,
}

/// Adds the gradient of one batch, times `weight`, to `total`: the sum over targets, so that with
/// `weight` = 1 / targets of the whole optimizer step it does not matter how rows are cut into batches.
pub(crate) fn accumulate(
    model: &Model,
    adapter: &Adapter,
    rows: &[NamedRow<'_>],
    weight: f64,
    seed: u64,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    if ComputePath::of(model, adapter).is_fused() {
        fused_gradient(model, adapter, rows, weight, workers, total)
    } else {
        composed_gradient(model, adapter, rows, weight, seed, workers, total)
    }
}

/// [`accumulate`] by burn operations: on any device, with everything an adapter may ask for.
pub(crate) fn composed_gradient(
    model: &Model,
    adapter: &Adapter,
    rows: &[NamedRow<'_>],
    weight: f64,
    seed: u64,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    let lora = adapter.on_device(model.config(), model.device());
    let share = adapter.config.dropout == 0.0;
    let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    let parts = if model.on_cpu() {
        shards(&plain, if share { common_prefix(&plain) } else { 0 })
    } else {
        vec![(0..rows.len()).collect()]
    };
    let gradients = workers.map(model, parts.len(), |part| {
        let rows: Vec<NamedRow<'_>> = parts[part].iter().map(|&index| rows[index]).collect();
        shard_gradient(model, adapter, &lora, &rows, weight, seed)
    })?;
    let mut loss = SupervisedLoss::default();
    for gradient in gradients {
        loss.sum += gradient.loss.sum;
        loss.supervised += gradient.loss.supervised;
        for (sum, value) in total.iter_mut().zip(&gradient.values) {
            *sum += value;
        }
    }
    Ok(loss)
}

/// [`accumulate`] by the fused pass, in as few pieces as memory allows.
fn fused_gradient(
    model: &Model,
    adapter: &Adapter,
    rows: &[NamedRow<'_>],
    weight: f64,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<SupervisedLoss, LlmError> {
    let rows: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
    workers.together(|memory| {
        let mut loss = SupervisedLoss::default();
        let mut gradient = vec![0f32; adapter.values.len()];
        for piece in pieces(&rows, common_prefix(&rows)) {
            let batch = Batch::new(&piece.iter().map(|&row| rows[row]).collect::<Vec<_>>(), true);
            let part = fused::gradient(model, adapter, &batch, weight, memory, &mut gradient)?;
            loss.sum += part.sum;
            loss.supervised += part.supervised;
            total.iter_mut().zip(&gradient).for_each(|(sum, value)| *sum += value);
        }
        Ok(loss)
    })
}

/// Forward and backward of one shard. The adapter's tensors are tracked anew, so each shard records a graph of its own
/// and shards can run side by side.
fn shard_gradient(
    model: &Model,
    adapter: &Adapter,
    lora: &LoraWeights,
    rows: &[NamedRow<'_>],
    weight: f64,
    seed: u64,
) -> Result<Gradient, LlmError> {
    let probability = adapter.config.dropout;
    let batch = Batch::new(&rows.iter().map(|named| named.row).collect::<Vec<_>>(), probability == 0.0);
    let tables = model.tables(&batch);
    let dropout = (probability > 0.0).then(|| {
        let names = batch.order.iter().zip(&batch.own).map(|(&row, &tokens)| (rows[row].name, tokens)).collect();
        Dropout::new(probability as f32, seed, names, model.device().clone())
    });
    let tracked = LoraWeights {
        layers: lora.layers.iter().map(|layer| layer.each_ref().map(|pair| track(pair.as_ref()))).collect(),
        scale: lora.scale,
    };
    let hidden = model.supervised_hidden(&tracked, &tables, dropout.as_ref());
    let head = lm_head_loss(hidden.clone().inner(), &model.head(), &tables.targets, HeadOutput::Gradient);
    // The head's gradient is known in closed form; this product has exactly that gradient.
    let towards = head.gradient.expect("invariant: it was asked for") * weight;
    let mut gradients = (hidden * towards).sum().backward();

    let mut reading = Transaction::default();
    let mut read = Vec::with_capacity(adapter.tensors.len());
    for tensor in &adapter.tensors {
        let pair =
            tracked.layers[tensor.layer][tensor.module.index()].as_ref().expect("invariant: made from these tensors");
        let leaf = match tensor.part {
            Part::A => &pair.a,
            Part::B => &pair.b,
        };
        if let Some(gradient) = leaf.grad_remove(&mut gradients) {
            reading = reading.register(gradient);
            read.push(tensor.range());
        }
    }
    let device = |error: &dyn std::fmt::Debug| LlmError::Device { reason: format!("{error:?}") };
    let mut values_of = vec![0f32; adapter.values.len()];
    for (range, data) in read.into_iter().zip(reading.try_execute().map_err(|e| device(&e))?) {
        values_of[range].copy_from_slice(data.as_slice::<f32>().map_err(|e| device(&e))?);
    }
    let losses = values(head.losses)?;
    let loss = SupervisedLoss { sum: losses.iter().map(|l| f64::from(*l)).sum(), supervised: losses.len() };
    Ok(Gradient { loss, values: values_of })
}

fn track(pair: Option<&LoraPair>) -> Option<LoraPair> {
    let leaf = |tensor: &Tensor<2>| tensor.clone().autodiff().require_grad();
    pair.map(|pair| LoraPair { a: leaf(&pair.a), b: leaf(&pair.b) })
}
