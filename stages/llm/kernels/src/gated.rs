//! The feed-forward part's activation: act(gate) · up, with its gradient, for any activation x · share(x).

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    simd::{Kernel, Simd},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;

/// An activation.
pub(crate) trait Gate: Copy + Sync {
    /// act(x) / x, and the slope of act at x.
    fn share_and_slope<S: Simd>(self, s: S, x: S::Vector) -> (S::Vector, S::Vector);
}

/// `y` = act(gate) · up, the gate's features coming first in `both` and then as many of up.
pub(crate) fn forward(act: impl Gate, isa: Isa, both: &Lanes, y: &mut Lanes) {
    y.reuse(both.features() / 2, both.tokens());
    let (gate, up) = both.values().split_at(both.values().len() / 2);
    let parts = gate.par_chunks(PER_TASK).zip(up.par_chunks(PER_TASK));
    y.values_mut()
        .par_chunks_mut(PER_TASK)
        .zip(parts)
        .for_each(|(y, (gate, up))| isa.run(Forward { act, gate, up, y }));
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub(crate) fn backward(act: impl Gate, isa: Isa, both: &mut Lanes, dy: &Lanes) {
    let half = both.values().len() / 2;
    let (gate, up) = both.values_mut().split_at_mut(half);
    let parts = gate.par_chunks_mut(PER_TASK).zip(up.par_chunks_mut(PER_TASK));
    parts.zip(dy.values().par_chunks(PER_TASK)).for_each(|((gate, up), dy)| isa.run(Backward { act, gate, up, dy }));
}

struct Forward<'a, G> {
    act: G,
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl<G: Gate> Kernel for Forward<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact(S::WIDTH).zip(self.up.chunks_exact(S::WIDTH));
        for (y, (gate, up)) in self.y.chunks_exact_mut(S::WIDTH).zip(pairs) {
            let gate = s.load(gate);
            let (share, _) = self.act.share_and_slope(s, gate);
            s.store(y, s.mul(s.mul(gate, share), s.load(up)));
        }
    }
}

struct Backward<'a, G> {
    act: G,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
}

impl<G: Gate> Kernel for Backward<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact_mut(S::WIDTH).zip(self.up.chunks_exact_mut(S::WIDTH));
        for ((gate, up), dy) in pairs.zip(self.dy.chunks_exact(S::WIDTH)) {
            let (g, u, dy) = (s.load(gate), s.load(up), s.load(dy));
            let (share, slope) = self.act.share_and_slope(s, g);
            s.store(gate, s.mul(s.mul(dy, u), slope));
            s.store(up, s.mul(dy, s.mul(g, share)));
        }
    }
}
