use refit_kernels::{Bf16Panels, Isa, Lanes, Right, Term, TokenPanels, cap, cross_entropy, product, weight_gradient};

use super::matrix::Matrix;

/// Logits held at once: 2²³ are 32 MiB, which bounds memory for any number of targets.
const LOGITS_AT_ONCE: usize = 1 << 23;

/// Buffers of the head.
#[derive(Debug, Default)]
pub(super) struct HeadBuffers {
    logits: Lanes,
    /// The logits where they are capped, whose place their gradient takes.
    capped: Lanes,
    hidden: Lanes,
    d_hidden: Lanes,
    panels: Bf16Panels,
    by_token: TokenPanels,
}

/// The gradient that the head is asked for.
pub(super) struct HeadGradient<'a> {
    /// The sum of the losses is multiplied by this first.
    pub(super) weight: f32,
    /// By the hidden states.
    pub(super) d_hidden: &'a mut Lanes,
    /// By the head itself, which this is added to, if it is trained.
    pub(super) by_head: Option<&'a mut [f32]>,
}

/// −ln p(target) of each token of `hidden` (normed), in blocks of tokens; logits are held in ± `cap`, if there is one.
pub(super) fn head_losses(
    isa: Isa,
    (head, cap): (Matrix<'_>, Option<f32>),
    hidden: &Lanes,
    targets: &[u32],
    buffers: &mut HeadBuffers,
    mut gradient: Option<HeadGradient<'_>>,
) -> Vec<f64> {
    let at_once = (LOGITS_AT_ONCE / head.out()).max(1);
    let mut losses = Vec::with_capacity(targets.len());
    if let Some(gradient) = &mut gradient {
        gradient.d_hidden.reshape(hidden.features(), hidden.tokens());
    }
    let HeadBuffers { logits, capped, hidden: some, d_hidden, panels, by_token } = buffers;
    for (block, targets) in targets.chunks(at_once).enumerate() {
        let first = (block * at_once) as u32;
        let tokens: Vec<u32> = (first..first + targets.len() as u32).collect();
        some.gather(hidden, &tokens);
        let stride = some.stride();
        logits.reuse(head.out(), targets.len());
        let right = panels.pack(isa, head.precision(), some.values(), stride);
        product(isa, logits.values_mut(), stride, false, &[Term { left: head.plain(), right }]);
        if let Some(cap) = cap {
            cap::forward(isa, logits.values_mut(), cap);
            capped.copy_from(logits);
        }
        let weight = gradient.as_ref().map(|gradient| gradient.weight);
        losses.extend(cross_entropy::losses(isa, logits, targets, weight));
        if let Some(gradient) = &mut gradient {
            if let Some(cap) = cap {
                cap::backward(isa, capped.values(), cap, logits.values_mut());
            }
            d_hidden.reuse(hidden.features(), targets.len());
            let right: Right<'_> = panels.pack(isa, head.precision(), logits.values(), stride);
            product(isa, d_hidden.values_mut(), stride, false, &[Term { left: head.transposed(), right }]);
            gradient.d_hidden.scatter(d_hidden, &tokens);
            if let Some(by_head) = &mut gradient.by_head {
                by_token.fill(some);
                weight_gradient(isa, logits.values(), some, by_token, by_head);
            }
        }
    }
    losses
}
