//! The feed-forward part's activation in Gemma: gelu(gate) · up, gelu by its approximation with tanh:
//! x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    simd::{Kernel, Simd, tanh},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;
/// √(2/π).
const ROOT: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// `y` = gelu(gate) · up, the gate's features coming first in `both` and then as many of up.
pub fn forward(isa: Isa, both: &Lanes, y: &mut Lanes) {
    y.reuse(both.features() / 2, both.tokens());
    let (gate, up) = both.values().split_at(both.values().len() / 2);
    let parts = gate.par_chunks(PER_TASK).zip(up.par_chunks(PER_TASK));
    y.values_mut().par_chunks_mut(PER_TASK).zip(parts).for_each(|(y, (gate, up))| isa.run(Forward { gate, up, y }));
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub fn backward(isa: Isa, both: &mut Lanes, dy: &Lanes) {
    let half = both.values().len() / 2;
    let (gate, up) = both.values_mut().split_at_mut(half);
    let parts = gate.par_chunks_mut(PER_TASK).zip(up.par_chunks_mut(PER_TASK));
    parts.zip(dy.values().par_chunks(PER_TASK)).for_each(|((gate, up), dy)| isa.run(Backward { gate, up, dy }));
}

struct Forward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact(S::WIDTH).zip(self.up.chunks_exact(S::WIDTH));
        for (y, (gate, up)) in self.y.chunks_exact_mut(S::WIDTH).zip(pairs) {
            let gate = s.load(gate);
            let (share, _) = share(s, gate);
            s.store(y, s.mul(s.mul(gate, share), s.load(up)));
        }
    }
}

struct Backward<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact_mut(S::WIDTH).zip(self.up.chunks_exact_mut(S::WIDTH));
        for ((gate, up), dy) in pairs.zip(self.dy.chunks_exact(S::WIDTH)) {
            let (g, u, dy) = (s.load(gate), s.load(up), s.load(dy));
            let (share, slope) = share(s, g);
            s.store(gate, s.mul(s.mul(dy, u), s.fma(g, slope, share)));
            s.store(up, s.mul(dy, s.mul(g, share)));
        }
    }
}

/// gelu(x) / x = (1 + tanh(…)) / 2, and its slope.
#[inline(always)]
fn share<S: Simd>(s: S, x: S::Vector) -> (S::Vector, S::Vector) {
    let (half, one, x2) = (s.splat(0.5), s.splat(1.0), s.mul(x, x));
    let inner = s.mul(x, s.fma(s.splat(ROOT * CUBIC), x2, s.splat(ROOT)));
    let t = tanh(s, inner);
    let bend = s.sub(one, s.mul(t, t));
    let inner_slope = s.fma(s.splat(3.0 * ROOT * CUBIC), x2, s.splat(ROOT));
    (s.fma(half, t, half), s.mul(half, s.mul(bend, inner_slope)))
}
