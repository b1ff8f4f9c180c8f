use std::ops::Range;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::{batch::indices, capped, forward::values, table::Table};
use crate::LlmError;

/// Logits held at once: 2²³ are 32 MiB, which bounds memory for any number of targets.
pub(crate) const LOGITS_AT_ONCE: usize = 1 << 23;

/// Cross-entropy of the head's prediction, and what can be had with it.
pub(crate) struct HeadLoss {
    /// −ln p(target) of each row, `[targets]`, those included that pad them.
    pub(crate) losses: Tensor<1>,
    /// Gradient of the *sum* of the losses that count by the hidden states, `[targets, hidden]`, if asked for.
    pub(crate) gradient: Option<Tensor<2>>,
    /// The same by the head itself, `[rows, hidden]` for each of its shards, if asked for.
    pub(crate) by_head: Option<Vec<Tensor<2>>>,
    /// The most likely token of each row, if asked for.
    pub(crate) argmax: Option<Tensor<1, Int>>,
}

/// What rows are to predict.
pub(crate) struct Targets {
    /// `[rows]`.
    pub(crate) ids: Tensor<1, Int>,
    /// How many rows count; the others pad them.
    counted: usize,
    /// 1 for each row that counts, else 0, `[rows, 1]`; nothing if all count.
    counts: Option<Tensor<2>>,
}

impl Targets {
    /// Of these ids the first `counted` count.
    pub(crate) fn new(ids: &[u32], counted: usize, device: &Device) -> Self {
        let counts = (counted < ids.len()).then(|| {
            let counts: Vec<f32> = (0..ids.len()).map(|row| f32::from(u8::from(row < counted))).collect();
            Tensor::from_data(TensorData::new(counts, [ids.len(), 1]), device)
        });
        Self { ids: indices(ids, device), counted, counts }
    }

    /// The losses of the rows that count.
    pub(crate) fn losses(&self, found: Tensor<1>) -> Result<Vec<f64>, LlmError> {
        Ok(values(found)?.into_iter().take(self.counted).map(f64::from).collect())
    }
}

/// What [`lm_head_loss`] computes beside the losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadOutput {
    /// Nothing.
    Losses,
    /// The gradient by the hidden states.
    Gradient,
    /// That and the gradient by the head.
    BothGradients,
    /// The most likely tokens.
    Argmax,
}

/// The softmax of some rows as far as the shards so far make it: sums are in terms of the largest logit so far, and are
/// brought down when a later shard has a larger one. So no logit has to wait for another shard's, and a shard is taken (and
/// unpacked) once.
struct Softmax {
    /// `[rows, 1]`.
    largest: Tensor<2>,
    /// Σ exp(logit − largest), `[rows, 1]`.
    total: Tensor<2>,
    /// The target's logit, or 0 as long as its shard has not come, `[rows, 1]`.
    aimed: Tensor<2>,
    /// Σ exp(logit − largest) · slope · row of the head, `[rows, hidden]`.
    towards: Option<Tensor<2>>,
    /// The token of the largest logit, `[rows, 1]`.
    best: Option<Tensor<2, Int>>,
}

/// What the gradient by a shard of the head is made of, once the softmax is whole.
struct Weighed {
    /// exp(logit − largest) · slope, `[rows, shard]`.
    by_token: Tensor<2>,
    /// The largest logit up to that shard.
    largest: Tensor<2>,
}

/// The head and the cross-entropy over `hidden` `[targets, hidden]` and the head `[vocabulary, hidden]`, in blocks of rows and
/// shard by shard; logits are held in ± `cap`, if there is one.
///
/// The gradient is written down rather than recorded: with p = softmax(h·Wᵀ), d(−ln p(t))/dh = p·W − W[t], so the
/// `[targets, vocabulary]` products exist for one block at a time and once instead of several times.
/// This is the seam at which a fused head can replace the composed one.
pub(crate) fn lm_head_loss(
    hidden: Tensor<2>,
    head: &Table,
    cap: Option<f32>,
    targets: &Targets,
    want: HeadOutput,
) -> HeadLoss {
    let (mut losses, mut gradients, mut argmaxes) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_head: Vec<Option<Tensor<2>>> = vec![None; head.shards().len()];
    // The gradient by the head needs the logits of all shards again.
    let width = if want == HeadOutput::BothGradients { head.len() } else { head.widest() };
    for rows in blocks(hidden.dims()[0], width) {
        let hidden = hidden.clone().narrow(0, rows.start, rows.len());
        let counts = targets.counts.clone().map(|counts| counts.narrow(0, rows.start, rows.len()));
        let counted = |rows: Tensor<2>| counts.as_ref().map_or(rows.clone(), |counts| rows * counts.clone());
        let targets = targets.ids.clone().narrow(0, rows.start, rows.len());
        let (softmax, weighed) = softmax(&hidden, head, cap, &targets, want);
        let Softmax { largest, total, aimed, towards, best } = softmax;
        losses.push((largest.clone() + total.clone().log() - aimed.clone()).squeeze_dim::<1>(1));
        argmaxes.extend(best.map(|best| best.squeeze_dim::<1>(1)));
        let Some(towards) = towards else { continue };
        // d(c·tanh(x/c))/dx = 1 − tanh², of the target's own logit.
        let own = cap.map(|cap| slopes(aimed, cap));
        let aimed = |rows: Tensor<2>| own.as_ref().map_or(rows.clone(), |own| own.clone() * rows);
        gradients.push(counted(towards / total.clone() - aimed(head.select(targets.clone()))));
        let hidden = counted(hidden);
        for ((shard, weighed), sum) in head.shards().iter().zip(weighed).zip(&mut by_head) {
            let factor = (weighed.largest - largest.clone()).exp() / total.clone();
            let towards = weighed.by_token.transpose().matmul(hidden.clone() * factor);
            let found = head.find(shard, &targets);
            let off = found.only_inside(aimed(hidden.clone()).neg());
            let towards = towards.select_assign(0, found.at, off, IndexingUpdateOp::Add);
            *sum = Some(sum.take().map_or(towards.clone(), |sum| sum + towards));
        }
    }
    HeadLoss {
        losses: Tensor::cat(losses, 0),
        gradient: (!gradients.is_empty()).then(|| Tensor::cat(gradients, 0)),
        by_head: by_head.into_iter().collect(),
        argmax: (!argmaxes.is_empty()).then(|| Tensor::cat(argmaxes, 0)),
    }
}

/// The softmax of some rows over all shards, and, if both gradients are wanted, what is needed of each shard for the head's.
fn softmax(
    hidden: &Tensor<2>,
    head: &Table,
    cap: Option<f32>,
    targets: &Tensor<1, Int>,
    want: HeadOutput,
) -> (Softmax, Vec<Weighed>) {
    let mut so_far: Option<Softmax> = None;
    let mut weighed = Vec::new();
    for shard in head.shards() {
        let weight = shard.matrix.tensor();
        let logits = capped(hidden.clone().matmul(weight.clone().transpose()), cap);
        let found = head.find(shard, targets);
        let aimed = found.only_inside(logits.clone().gather(1, found.at.clone().unsqueeze_dim(1)));
        let peak = logits.clone().max_dim(1);
        let best = (want == HeadOutput::Argmax).then(|| logits.clone().argmax(1) + shard.rows.start as i32);
        let largest = match &so_far {
            Some(before) => before.largest.clone().max_pair(peak.clone()),
            None => peak.clone(),
        };
        let likely = (logits.clone() - largest.clone()).exp();
        let total = likely.clone().sum_dim(1);
        let towards = matches!(want, HeadOutput::Gradient | HeadOutput::BothGradients).then(|| {
            let by_token = match cap {
                Some(cap) => likely * slopes(logits, cap),
                None => likely,
            };
            let towards = by_token.clone().matmul(weight);
            if want == HeadOutput::BothGradients {
                weighed.push(Weighed { by_token, largest: largest.clone() });
            }
            towards
        });
        so_far = Some(match so_far {
            None => Softmax { largest, total, aimed, towards, best },
            Some(before) => {
                let kept = (before.largest.clone() - largest.clone()).exp();
                let add = |sum: Tensor<2>, more: Tensor<2>| sum * kept.clone() + more;
                // Of equal logits the first wins.
                let later = peak.greater(before.largest);
                Softmax {
                    largest,
                    total: add(before.total, total),
                    aimed: before.aimed + aimed,
                    towards: before.towards.zip(towards).map(|(sum, more)| add(sum, more)),
                    best: before.best.zip(best).map(|(first, best)| first.mask_where(later, best)),
                }
            }
        });
    }
    (so_far.expect("invariant: a table has a shard"), weighed)
}

/// How the logits under a cap change with those without.
fn slopes(capped: Tensor<2>, cap: f32) -> Tensor<2> {
    (capped / cap).square().neg() + 1.0
}

/// Logits `[rows, shard]` of each shard of the head, one after the other.
pub(crate) fn logits(hidden: &Tensor<2>, head: &Table, cap: Option<f32>) -> impl Iterator<Item = Tensor<2>> {
    head.shards().iter().map(move |shard| capped(hidden.clone().matmul(shard.matrix.tensor().transpose()), cap))
}

/// The most likely token of each row.
pub(crate) fn most_likely(hidden: &Tensor<2>, head: &Table, cap: Option<f32>) -> Tensor<1, Int> {
    let mut so_far: Option<(Tensor<2>, Tensor<2, Int>)> = None;
    for (shard, logits) in head.shards().iter().zip(logits(hidden, head, cap)) {
        let (peak, best) = logits.max_dim_with_indices(1);
        let best = best + shard.rows.start as i32;
        so_far = Some(match so_far {
            None => (peak, best),
            Some((before, first)) => {
                let best = first.mask_where(peak.clone().greater(before.clone()), best);
                (before.max_pair(peak), best)
            }
        });
    }
    so_far.expect("invariant: a table has a shard").1.squeeze_dim(1)
}

/// Cuts rows into blocks of which the logits over so many tokens may be there at once.
fn blocks(rows: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    let block = (LOGITS_AT_ONCE / width.max(1)).max(1);
    (0..rows).step_by(block).map(move |start| start..rows.min(start + block))
}
