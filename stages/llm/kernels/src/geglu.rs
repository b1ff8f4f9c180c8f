//! The feed-forward part's activation in Gemma: gelu(gate) · up, gelu by its approximation with tanh:
//! x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).

use crate::{
    Isa, Lanes,
    gated::{self, Gate},
    simd::{Simd, tanh},
};

/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `y` = gelu(gate) · up, the gate's features coming first in `both` and then as many of up.
pub fn forward(isa: Isa, both: &Lanes, y: &mut Lanes) {
    gated::forward(Gelu, isa, both, y);
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub fn backward(isa: Isa, both: &mut Lanes, dy: &Lanes) {
    gated::backward(Gelu, isa, both, dy);
}

#[derive(Clone, Copy)]
struct Gelu;

impl Gate for Gelu {
    #[inline(always)]
    fn share_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector) {
        let (half, one, x2) = (s.splat(0.5), s.splat(1.0), s.mul(x, x));
        let inner = s.mul(x, s.fma(s.splat(ROOT * CUBIC), x2, s.splat(ROOT)));
        let t = tanh(s, inner);
        let bend = s.sub(one, s.mul(t, t));
        let inner_slope = s.fma(s.splat(3.0 * ROOT * CUBIC), x2, s.splat(ROOT));
        let share = s.fma(half, t, half);
        let share_slope = s.mul(half, s.mul(bend, inner_slope));
        (share, s.fma(x, share_slope, share))
    }
}
