use std::ops::Range;

use burn::tensor::{Gradients, Tensor, TensorData, Transaction};

use super::{
    Trainable,
    gradient::{NamedRow, Passed, Weights, lay_out, target_weights},
    shard::{fitting, pieces, shards},
    workers::Workers,
};
use crate::{
    LlmError, Model,
    model::{Batch, DeviceBatch, HeadOutput, Noise, Randomness, Row, common_prefix, lm_head_loss, values},
    weights::UnitRows,
};

/// What one shard's forward pass found, and its gradient.
struct Gradient {
    passed: Passed,
    parts: Vec<(Range<usize>, Vec<f32>)>,
}

/// [`accumulate`] by burn operations: on any device, with everything a method may ask for.
///
/// Parts bound what a pass keeps on a GPU, and are what several share out. What those of all batches find is added in their
/// order, whichever device found it.
pub(super) fn composed_gradients(
    model: &Model,
    trained: &dyn Trainable,
    batches: &[&[NamedRow<'_>]],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    let (share, together) = (randomness.lets_rows_share(), weights.together());
    let models = workers.of_each(model, |model| Ok(model.clone()))?;
    let parts: Vec<_> = batches.iter().flat_map(|batch| cut(&models, batch, share, together)).collect();
    // What a product saw stays until the way back: a matrix that was unpacked for it must not.
    let again = workers.checkpointing() || model.unpacks_for_each_use();
    let mut passed = Passed::default();
    let gradient_of =
        |model: &Model, part: usize| Shard::new(model, trained, &parts[part], weights, randomness)?.gradient(again);
    workers.in_order(&models, parts.len(), gradient_of, |gradient: Gradient| {
        passed.add(gradient.passed);
        for (range, values) in gradient.parts {
            total[range].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    })?;
    Ok(passed)
}

/// Cuts a batch into the parts that go through a model at once: on a CPU what its cores share, on GPUs as much as the buffers of
/// all hold. Rows share their beginning if `share`, and every `together` of them stay in one part.
fn cut<'a>(models: &[Model], batch: &[NamedRow<'a>], share: bool, together: usize) -> Vec<Vec<NamedRow<'a>>> {
    let plain: Vec<Row<'_>> = batch.iter().map(|named| named.row).collect();
    let prefix = |rows: &[Row<'_>]| if share { common_prefix(rows) } else { 0 };
    let named = |part: Vec<usize>| part.into_iter().map(|index| batch[index]).collect();
    if models[0].on_cpu() {
        return shards(&plain, prefix(&plain), together).into_iter().map(named).collect();
    }
    let fits = |rows: &[Row<'_>]| models.iter().all(|model| model.takes(rows, share));
    let parts = pieces(&plain, prefix(&plain), together).into_iter().flat_map(|part| {
        let rows: Vec<Row<'_>> = part.iter().map(|&index| plain[index]).collect();
        let parts = fitting(&rows, prefix(&rows), together, fits).into_iter();
        parts.map(|fitting| fitting.into_iter().map(|index| part[index]).collect()).collect::<Vec<_>>()
    });
    parts.map(named).collect()
}

/// [`composed_gradients`] of one batch.
#[cfg(test)]
pub(crate) fn composed_gradient(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
    workers: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    composed_gradients(model, trained, &[rows], weights, randomness, workers, total)
}

/// [`composed_gradient`], one layer of the model after the other.
#[cfg(test)]
pub(crate) fn composed_by_layers(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[NamedRow<'_>],
    weights: Weights<'_>,
    randomness: Randomness,
    _: &mut Workers,
    total: &mut [f32],
) -> Result<Passed, LlmError> {
    let mut workers = Workers::new(2).with_checkpointing(true);
    composed_gradient(model, trained, rows, weights, randomness, &mut workers, total)
}

/// Forward and backward of some rows. What is trained is tracked anew, so each shard records a graph of its own and shards
/// can run side by side.
struct Shard<'a> {
    model: &'a Model,
    trained: &'a dyn Trainable,
    rows: &'a [NamedRow<'a>],
    weights: Weights<'a>,
    batch: Batch,
    tables: DeviceBatch,
    noise: Option<Noise>,
}

/// What the head made of hidden states.
struct Head {
    losses: Vec<f64>,
    /// The gradient of the weighed losses by the hidden states.
    towards: Tensor<2>,
    /// The same by the head itself, where it is trained, with the places among the values.
    own: Vec<(Range<usize>, Vec<f32>)>,
}

/// A tensor of trained values, tracked, with their place; and its gradient so far.
struct Leaf {
    range: Range<usize>,
    tensor: Tensor<2>,
    gradient: Option<Tensor<2>>,
}

/// Adds what a way back found.
fn take(leaves: &mut [Leaf], gradients: &mut Gradients) {
    for leaf in leaves {
        if let Some(found) = leaf.tensor.grad_remove(gradients) {
            leaf.gradient = Some(match leaf.gradient.take() {
                Some(sum) => sum + found,
                None => found,
            });
        }
    }
}

impl<'a> Shard<'a> {
    fn new(
        model: &'a Model,
        trained: &'a dyn Trainable,
        rows: &'a [NamedRow<'a>],
        weights: Weights<'a>,
        randomness: Randomness,
    ) -> Result<Self, LlmError> {
        let (batch, noise) = lay_out(rows, randomness);
        let tables = model.tables(&batch)?;
        let noise = noise.map(|noise| noise.padded(tables.tokens));
        Ok(Self { model, trained, rows, weights, batch, tables, noise })
    }

    /// Loss and gradient; with `again`, each block leaves its input only, and is computed again on the way back.
    fn gradient(&self, again: bool) -> Result<Gradient, LlmError> {
        let mut leaves = Vec::new();
        let tracked = self.trained.place(self.model, &mut |range, shape| {
            let tensor = self.model.leaf(self.trained, range.clone(), shape).autodiff().require_grad();
            leaves.push(Leaf { range, tensor: tensor.clone(), gradient: None });
            tensor
        })?;
        let head = if again { self.by_blocks(&tracked, &mut leaves)? } else { self.at_once(&tracked, &mut leaves)? };
        let mut reading = Transaction::default();
        let mut read = Vec::with_capacity(leaves.len());
        for (range, gradient) in leaves.into_iter().filter_map(|leaf| Some((leaf.range, leaf.gradient?))) {
            reading = reading.register(gradient);
            read.push(range);
        }
        let mut parts = head.own;
        for (range, data) in read.into_iter().zip(reading.try_execute().map_err(|e| LlmError::of_device(&e))?) {
            parts.push((range, data.as_slice::<f32>().map_err(|e| LlmError::of_device(&e))?.to_vec()));
        }
        Ok(Gradient { passed: Passed::of(&self.batch, self.rows, &head.losses), parts })
    }

    fn at_once(&self, tracked: &Model, leaves: &mut [Leaf]) -> Result<Head, LlmError> {
        let hidden = tracked.supervised_hidden(&self.tables, self.noise.as_ref());
        let head = self.head(hidden.clone().inner(), tracked)?;
        // The head's gradient is known in closed form; this product has exactly that gradient.
        // Where the head alone is trained, and is not the embedding, nothing leads back from hidden states.
        if hidden.device().is_autodiff() {
            let mut gradients = (hidden * head.towards.clone()).sum().backward();
            take(leaves, &mut gradients);
        }
        Ok(head)
    }

    fn by_blocks(&self, tracked: &Model, leaves: &mut [Leaf]) -> Result<Head, LlmError> {
        let (tables, noise) = (&self.tables, self.noise.as_ref());
        let plain = self.model.with(self.trained)?;
        let mut inputs = Vec::with_capacity(plain.layers.len());
        let mut hidden = plain.embedded(tables, noise);
        for layer in 0..plain.layers.len() {
            inputs.push(hidden.clone());
            hidden = plain.block(layer, hidden, tables, noise);
        }
        let head = self.head(plain.normed(hidden.clone(), tables, noise), tracked)?;
        drop(plain);
        let mut back = |input: Tensor<2>, towards: Tensor<2>, part: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let input = input.autodiff().require_grad();
            let mut gradients = (part(input.clone()) * towards).sum().backward();
            take(leaves, &mut gradients);
            let all_found = leaves.iter().all(|leaf| leaf.gradient.is_some());
            // Below everything that is trained there is nothing to be found.
            if all_found { None } else { input.grad_remove(&mut gradients) }
        };
        let mut towards = back(hidden, head.towards.clone(), &|x| tracked.normed(x, tables, noise));
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            let Some(by_output) = towards else { return Ok(head) };
            towards = back(input, by_output, &|x| tracked.block(layer, x, tables, noise));
        }
        if let Some(towards) = towards {
            let embedded = tracked.embedded(tables, noise);
            if embedded.device().is_autodiff() {
                let mut gradients = (embedded * towards).sum().backward();
                take(leaves, &mut gradients);
            }
        }
        Ok(head)
    }

    fn head(&self, hidden: Tensor<2>, tracked: &Model) -> Result<Head, LlmError> {
        let config = self.model.config();
        let trained = self.trained.head(config);
        let (head, want) = match trained {
            Some(_) => (tracked.head.untracked(), HeadOutput::BothGradients),
            None => (self.model.head.clone(), HeadOutput::Gradient),
        };
        let found = lm_head_loss(hidden, &head, config.logit_cap, &self.tables.targets, want);
        let losses = self.tables.targets.losses(found.losses)?;
        let by_hidden = found.gradient.expect("invariant: it was asked for");
        let (towards, own) = match self.weights {
            Weights::Every(weight) => {
                let mut own = Vec::new();
                for (range, by_head) in trained.into_iter().zip(found.by_head) {
                    let mut read = Vec::with_capacity(range.len());
                    for shard in by_head {
                        read.extend(values(shard * weight)?);
                    }
                    if config.unit_head && !config.tied_head {
                        let unit = UnitRows::of(&self.trained.values()[range.clone()], config.hidden_size);
                        let by_unit = std::mem::replace(&mut read, vec![0.0; range.len()]);
                        unit.add_gradient(&by_unit, &mut read);
                    }
                    own.push((range, read));
                }
                (by_hidden * weight, own)
            }
            Weights::ByRow(by) => {
                let mut weights = target_weights(by, &self.batch, self.rows, &losses);
                let shape = [by_hidden.dims()[0], 1];
                weights.resize(shape[0], 0.0);
                let weights = Tensor::<2>::from_data(TensorData::new(weights, shape), self.model.device());
                (by_hidden * weights, Vec::new())
            }
        };
        Ok(Head { losses, towards, own })
    }
}
