use burn::tensor::{IndexingUpdateOp, Int, Tensor, activation};

use super::capped;

/// Logits held at once: 2²³ are 32 MiB, which bounds memory for any number of targets.
const LOGITS_AT_ONCE: usize = 1 << 23;

/// Cross-entropy of the head's prediction, and what can be had with it.
pub(crate) struct HeadLoss {
    /// −ln p(target) of each row, `[targets]`.
    pub(crate) losses: Tensor<1>,
    /// Gradient of the *sum* of the losses by the hidden states, `[targets, hidden]`, if asked for.
    pub(crate) gradient: Option<Tensor<2>>,
    /// The same by the head itself, `[vocabulary, hidden]`, if asked for.
    pub(crate) by_head: Option<Tensor<2>>,
    /// The most likely token of each row, if asked for.
    pub(crate) argmax: Option<Tensor<1, Int>>,
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

/// The head and the cross-entropy over `hidden` `[targets, hidden]` and `weight` `[vocabulary, hidden]`, in blocks of rows;
/// logits are held in ± `cap`, if there is one.
///
/// The gradient is written down rather than recorded: with p = softmax(h·Wᵀ), d(−ln p(t))/dh = p·W − W[t], so the
/// `[targets, vocabulary]` products exist for one block at a time and once instead of several times.
/// This is the seam at which a fused head can replace the composed one.
pub(crate) fn lm_head_loss(
    hidden: Tensor<2>,
    weight: &Tensor<2>,
    cap: Option<f32>,
    targets: &Tensor<1, Int>,
    want: HeadOutput,
) -> HeadLoss {
    let count = hidden.dims()[0];
    let block = (LOGITS_AT_ONCE / weight.dims()[0]).max(1);
    let (mut losses, mut gradients, mut argmaxes) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_head = None;
    let mut start = 0;
    while start < count {
        let rows = block.min(count - start);
        let hidden = hidden.clone().narrow(0, start, rows);
        let targets = targets.clone().narrow(0, start, rows);
        let logits = capped(hidden.clone().matmul(weight.clone().transpose()), cap);
        let largest = logits.clone().max_dim(1);
        let aimed = logits.clone().gather(1, targets.clone().unsqueeze_dim(1));
        if want == HeadOutput::Argmax {
            argmaxes.push(logits.clone().argmax(1).squeeze_dim(1));
        }
        // d(c·tanh(x/c))/dx = 1 − tanh².
        let slopes = cap.map(|cap| (logits.clone() / cap).square().neg() + 1.0);
        let p = activation::softmax(logits, 1);
        // ln Σ exp = max − ln p(max), which stays finite however unlikely the target is.
        let log_sum = largest - p.clone().max_dim(1).log();
        losses.push((log_sum - aimed).squeeze_dim::<1>(1));
        if matches!(want, HeadOutput::Gradient | HeadOutput::BothGradients) {
            // A target's own slope is not 1 under a cap, so it cannot be taken off afterwards.
            let own = slopes.as_ref().map(|slopes| slopes.clone().gather(1, targets.clone().unsqueeze_dim(1)));
            let aimed = |rows: Tensor<2>| own.as_ref().map_or(rows.clone(), |own| own.clone() * rows);
            let p = slopes.map_or(p.clone(), |slopes| p * slopes);
            if want == HeadOutput::BothGradients {
                let towards = p.clone().transpose().matmul(hidden.clone());
                let towards = towards.select_assign(0, targets.clone(), aimed(hidden).neg(), IndexingUpdateOp::Add);
                by_head = Some(by_head.map_or(towards.clone(), |sum: Tensor<2>| sum + towards));
            }
            gradients.push(p.matmul(weight.clone()) - aimed(weight.clone().select(0, targets)));
        }
        start += rows;
    }
    HeadLoss {
        losses: Tensor::cat(losses, 0),
        gradient: (!gradients.is_empty()).then(|| Tensor::cat(gradients, 0)),
        by_head,
        argmax: (want == HeadOutput::Argmax).then(|| Tensor::cat(argmaxes, 0)),
    }
}
