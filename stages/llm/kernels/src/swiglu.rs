//! The feed-forward part's activation: silu(gate) · up.

use crate::{
    Isa, Lanes,
    gated::{self, Gate},
    simd::{Simd, exp},
};

/// `y` = silu(gate) · up, the gate's features coming first in `both` and then as many of up.
pub fn forward(isa: Isa, both: &Lanes, y: &mut Lanes) {
    gated::forward(Silu, isa, both, y);
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub fn backward(isa: Isa, both: &mut Lanes, dy: &Lanes) {
    gated::backward(Silu, isa, both, dy);
}

#[derive(Clone, Copy)]
struct Silu;

impl Gate for Silu {
    #[inline(always)]
    fn share_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let one = s.splat(1.0);
        let sigmoid = s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))));
        // silu' = σ·(1 + x·(1 − σ))
        (sigmoid, s.mul(sigmoid, s.fma(x, s.sub(one, sigmoid), one)))
    }
}
