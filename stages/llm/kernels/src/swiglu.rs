//! The feed-forward part's activation: silu(gate) · up.

use crate::{Isa, Lanes, act::Silu, gated};

/// `y` = silu(gate) · up, the gate's features coming first in `both` and then as many of up.
pub fn forward(isa: Isa, both: &Lanes, y: &mut Lanes) {
    gated::forward(Silu, isa, both, y);
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub fn backward(isa: Isa, both: &mut Lanes, dy: &Lanes) {
    gated::backward(Silu, isa, both, dy);
}
