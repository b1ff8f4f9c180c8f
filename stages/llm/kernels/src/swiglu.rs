//! The feed-forward part's activation: silu(gate) · up.

use crate::{Isa, Lanes, Make, Wanted, act::Silu, gated};

/// silu(gate) · up, the gate's features coming first in `both` and then as many of up.
pub fn gated(both: &Lanes) -> impl Make + '_ {
    gated::Gated { act: Silu, both }
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output. Meanwhile makes what is wanted of the output, and of the gradients by the
/// gate and by up, but for lanes.
pub fn backward(isa: Isa, both: &mut Lanes, dy: &Lanes, wanted: [Wanted<'_>; 3]) {
    gated::backward(Silu, isa, both, dy, wanted);
}
