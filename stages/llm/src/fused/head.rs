use refit_kernels::{Isa, Lanes, Panels, Rows, Term, TokenPanels, cap, cross_entropy, product, weight_gradient};

use super::matrix::Matrix;
use crate::model::LOGITS_AT_ONCE;

/// How many of these targets have their logits at one time. Blocks are alike: one of a few targets would be as slow as one of many,
/// since the head is read for each.
pub(crate) fn targets_at_once(targets: usize, vocabulary: usize) -> usize {
    let most = (LOGITS_AT_ONCE / vocabulary).max(1);
    targets.div_ceil(targets.div_ceil(most).max(1))
}

/// Buffers of the head.
#[derive(Debug, Default)]
pub(super) struct HeadBuffers {
    pub(super) logits: Lanes,
    /// The logits where they are capped, whose place their gradient takes.
    capped: Lanes,
    hidden: Lanes,
    d_hidden: Lanes,
    panels: Panels,
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
/// `most_likely` gets the entry of the vocabulary that each token would have predicted.
pub(super) fn head_losses(
    isa: Isa,
    (head, cap): (Matrix<'_>, Option<f32>),
    hidden: &Lanes,
    targets: &[u32],
    buffers: &mut HeadBuffers,
    mut gradient: Option<HeadGradient<'_>>,
    mut most_likely: Option<&mut Vec<u32>>,
) -> Vec<f64> {
    let mut losses = Vec::with_capacity(targets.len());
    if let Some(gradient) = &mut gradient {
        gradient.d_hidden.reshape(hidden.features(), hidden.tokens());
    }
    buffers.in_blocks(isa, (head, cap), hidden, |tokens, buffers| {
        let HeadBuffers { logits, capped, hidden: some, d_hidden, panels, by_token } = buffers;
        if let Some(most_likely) = &mut most_likely {
            most_likely.extend(cross_entropy::most_likely(isa, logits));
        }
        if cap.is_some() && gradient.is_some() {
            capped.copy_from(logits);
        }
        let targets: Vec<u32> = tokens.iter().map(|token| targets[*token as usize]).collect();
        let weight = gradient.as_ref().map(|gradient| gradient.weight);
        losses.extend(cross_entropy::losses(isa, logits, &targets, weight));
        if let Some(gradient) = &mut gradient {
            if let Some(cap) = cap {
                cap::backward(isa, capped.values(), cap, logits.values_mut());
            }
            d_hidden.reuse(hidden.features(), targets.len());
            let stride = d_hidden.stride();
            let right = head.other_side(isa, panels, logits.values(), stride);
            product(isa, d_hidden.values_mut(), stride, false, &[Term { left: head.transposed(), right }]);
            gradient.d_hidden.scatter(d_hidden, tokens);
            if let Some(by_head) = &mut gradient.by_head {
                by_token.fill(isa, Rows::from(&*some));
                weight_gradient(isa, logits.values(), Rows::from(&*some), by_token, by_head);
            }
        }
    });
    losses
}

impl HeadBuffers {
    /// The logits of the tokens of `hidden` (normed), so many tokens at a time that they take a bounded room: `block` is told
    /// which tokens, and finds theirs.
    pub(super) fn in_blocks(
        &mut self,
        isa: Isa,
        (head, cap): (Matrix<'_>, Option<f32>),
        hidden: &Lanes,
        mut block: impl FnMut(&[u32], &mut Self),
    ) {
        let tokens: Vec<u32> = (0..hidden.tokens() as u32).collect();
        let at_once = targets_at_once(tokens.len(), head.out()).max(1);
        for tokens in tokens.chunks(at_once) {
            self.hidden.gather(hidden, tokens);
            let stride = self.hidden.stride();
            self.logits.reuse(head.out(), tokens.len());
            let right = head.other_side(isa, &mut self.panels, self.hidden.values(), stride);
            product(isa, self.logits.values_mut(), stride, false, &[Term { left: head.plain(), right }]);
            if let Some(cap) = cap {
                cap::forward(isa, self.logits.values_mut(), cap);
            }
            block(tokens, self);
        }
    }
}
