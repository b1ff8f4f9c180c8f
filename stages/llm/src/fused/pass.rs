use rayon::prelude::*;
use refit_kernels::{Lanes, attention::Scores};

use super::{
    Changes, FusedWeights, Memory,
    block::{Shared, Tape},
    dense::TrainedHead,
    head::{HeadGradient, head_losses},
    matrix::Matrix,
};
use crate::{
    LlmError, Model,
    model::{Batch, Noise},
    weights::{UnitRows, WeightPlace},
};

/// Features of the embedding that one task lays out.
const FEATURES_PER_TASK: usize = 16;

/// How much the loss of each target weighs in the gradient.
#[derive(Clone, Copy)]
pub(crate) enum TargetWeights<'a> {
    /// All alike.
    Every(f32),
    /// Each by what this makes of all losses.
    Each(&'a dyn Fn(&[f64]) -> Vec<f32>),
}

/// −ln p of every target of a batch; the gradient of their weighed sum is added to `gradient`, in the order of
/// [`crate::train::Trainable::values`].
pub(crate) fn gradient(
    model: &Model,
    changes: &Changes<'_>,
    batch: &Batch,
    noise: Option<&Noise>,
    weights_of: TargetWeights<'_>,
    memory: &mut Memory,
    gradient: &mut [f32],
) -> Result<Vec<f64>, LlmError> {
    let weights = model.fused()?;
    let at = (batch.positions(), batch.longest);
    let shared = Shared::new(model, weights, changes, at, batch.segments(), noise);
    memory.tapes.resize_with(weights.blocks.len(), Tape::default);
    embed(model, changes, &batch.ids, noise, &mut memory.tapes[0].x)?;
    let last = weights.blocks.len() - 1;
    let keep = |layer: usize| (layer == last).then_some(batch.sources());
    let (lowest, embedding) = (changes.lowest(), changes.dense.get(WeightPlace::Embedding));
    let attend = |scores: Scores<'_>, qkv: &Lanes, attended: &mut Lanes| shared.attend(scores, qkv, attended);
    for (layer, block) in weights.blocks.iter().enumerate() {
        let Memory { tapes, passing, scratch, last: output, checkpointing, .. } = &mut *memory;
        let (tapes, above) = tapes.split_at_mut(layer + 1);
        let (tape, y) = (&mut tapes[layer], above.first_mut().map_or(output, |tape| &mut tape.x));
        // Below the lowest block with something trained there is no way back.
        if !*checkpointing && lowest.is_some_and(|lowest| layer >= lowest) {
            block.forward(layer, &shared, keep(layer), attend, tape, scratch, Some(y));
            continue;
        }
        std::mem::swap(&mut passing.x, &mut tape.x);
        block.forward(layer, &shared, keep(layer), attend, passing, scratch, Some(y));
        if layer < last {
            std::mem::swap(&mut passing.x, &mut tape.x);
        }
    }
    let last_norm = changes.dense.get(WeightPlace::LastNorm);
    let inverse = weights.norm.forward(weights.isa, last_norm.as_ref(), &memory.last, &mut memory.normed);
    let weight = match weights_of {
        TargetWeights::Every(weight) => weight,
        TargetWeights::Each(_) => 1.0,
    };
    let own_head = head_of(model, changes);
    let matrix = Matrix::of_head(&weights.head, own_head.as_ref());
    let mut through_head = |by_head: Option<&mut [f32]>| {
        let Memory { normed, d_normed, head, .. } = &mut *memory;
        let towards = HeadGradient { weight, d_hidden: d_normed, by_head };
        let matrix = (matrix, model.config().logit_cap);
        head_losses(weights.isa, matrix, normed, batch.targets(), head, Some(towards), None)
    };
    let losses = match &own_head {
        Some(own) => own.with_gradient(gradient, |by_head| through_head(Some(by_head))),
        None => through_head(None),
    };
    if let TargetWeights::Each(weights_of) = weights_of {
        weigh(&mut memory.d_normed, &weights_of(&losses));
    }

    memory.d.reshape(memory.last.features(), memory.last.tokens());
    let d = lowest.is_some().then_some(&mut memory.d);
    let past = (&memory.last, inverse.as_slice());
    weights.norm.backward(weights.isa, last_norm.as_ref(), past, &memory.d_normed, d, gradient);
    if let Some(lowest) = lowest {
        for (layer, block) in weights.blocks.iter().enumerate().skip(lowest).rev() {
            let ends = layer == lowest && embedding.is_none();
            let Memory { tapes, passing, scratch, d, checkpointing, .. } = &mut *memory;
            let tape = if *checkpointing {
                // The last block was the last to pass, and is still there.
                if layer < last {
                    std::mem::swap(&mut passing.x, &mut tapes[layer].x);
                    block.forward(layer, &shared, keep(layer), attend, passing, scratch, None);
                }
                passing
            } else {
                &mut tapes[layer]
            };
            block.backward(layer, ends, &shared, keep(layer), tape, scratch, d, gradient);
        }
    }
    if let Some(embedding) = embedding {
        let (hidden, to) = (memory.d.features(), &mut gradient[embedding.at]);
        let scale = model.config().embedding_scale.unwrap_or(1.0);
        for feature in 0..hidden {
            for (id, d) in batch.ids.iter().zip(memory.d.row(feature)) {
                to[*id as usize * hidden + feature] += d * scale;
            }
        }
    }
    Ok(losses)
}

/// Multiplies each token by its weight.
fn weigh(lanes: &mut Lanes, weights: &[f32]) {
    let stride = lanes.stride();
    for row in lanes.values_mut().chunks_exact_mut(stride) {
        row.iter_mut().zip(weights).for_each(|(value, weight)| *value *= weight);
    }
}

/// −ln p of every target of a batch; `most_likely` gets what the model would have said there.
pub(crate) fn target_losses(
    model: &Model,
    changes: &Changes<'_>,
    batch: &Batch,
    memory: &mut Memory,
    most_likely: Option<&mut Vec<u32>>,
) -> Result<Vec<f64>, LlmError> {
    let weights = model.fused()?;
    let at = (batch.positions(), batch.longest);
    let shared = Shared::new(model, weights, changes, at, batch.segments(), None);
    embed(model, changes, &batch.ids, None, memory.input())?;
    through(weights, &shared, Some(batch.sources()), memory, |_, scores, qkv, attended| {
        shared.attend(scores, qkv, attended)
    });
    let own_head = head_of(model, changes);
    let head = (Matrix::of_head(&weights.head, own_head.as_ref()), model.config().logit_cap);
    let Memory { head: buffers, normed, .. } = memory;
    Ok(head_losses(weights.isa, head, normed, batch.targets(), buffers, None, most_likely))
}

/// Takes [`Memory::input`] through all blocks to `memory.normed`, without a way back; with `keep`, these tokens only.
pub(super) fn through<'a>(
    weights: &FusedWeights,
    shared: &Shared<'a>,
    keep: Option<&'a [u32]>,
    memory: &mut Memory,
    mut attend: impl FnMut(usize, Scores<'a>, &Lanes, &mut Lanes) -> Vec<f32>,
) {
    let Memory { tapes, scratch, last: y, normed, .. } = memory;
    let tape = &mut tapes[0];
    let last = weights.blocks.len() - 1;
    for (layer, block) in weights.blocks.iter().enumerate() {
        let attend = |scores: Scores<'a>, qkv: &Lanes, attended: &mut Lanes| attend(layer, scores, qkv, attended);
        block.forward(layer, shared, keep.filter(|_| layer == last), attend, tape, scratch, Some(&mut *y));
        if layer < last {
            std::mem::swap(&mut tape.x, y);
        }
    }
    let own = shared.dense.get(WeightPlace::LastNorm);
    weights.norm.forward(weights.isa, own.as_ref(), y, normed);
}

/// The head, if it is trained itself: the embedding if they are tied.
pub(super) fn head_of<'a>(model: &Model, changes: &Changes<'a>) -> Option<TrainedHead<'a>> {
    let config = model.config();
    let own = changes.dense.get(if config.tied_head { WeightPlace::Embedding } else { WeightPlace::Head })?;
    let unit = (config.unit_head && !config.tied_head).then(|| UnitRows::of(own.values, config.hidden_size));
    Some(TrainedHead::new(own, unit))
}

/// Hidden states before the first block; the padding repeats the last token, so that it is as finite as that.
pub(super) fn embed(
    model: &Model,
    changes: &Changes<'_>,
    ids: &[u32],
    noise: Option<&Noise>,
    x: &mut Lanes,
) -> Result<(), LlmError> {
    let hidden = model.config().hidden_size;
    let mut rows = match changes.dense.get(WeightPlace::Embedding) {
        Some(own) => ids.iter().flat_map(|&id| &own.values[id as usize * hidden..][..hidden]).copied().collect(),
        None => model.embedding.whole().rows(ids)?,
    };
    if let Some(scale) = model.config().embedding_scale {
        for value in &mut rows {
            *value *= scale;
        }
    }
    if let Some(noise) = noise {
        noise.disturb(&mut rows, hidden);
    }
    x.reuse(hidden, ids.len());
    let stride = x.stride();
    let tokens = rows.chunks_exact(hidden);
    // A cache line of a token's row has the features of a task.
    x.values_mut().par_chunks_mut(FEATURES_PER_TASK * stride).enumerate().for_each(|(task, some)| {
        for (token, row) in tokens.clone().enumerate() {
            let features = row[task * FEATURES_PER_TASK..].iter();
            some[token..].iter_mut().step_by(stride).zip(features).for_each(|(to, value)| *to = *value);
        }
        for row in some.chunks_exact_mut(stride) {
            let last = row[ids.len() - 1];
            row[ids.len()..].fill(last);
        }
    });
    Ok(())
}
