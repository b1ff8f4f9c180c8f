//! The feed-forward part's activation: act(gate) · up, with its gradient, for any activation.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    act::Act,
    simd::{Kernel, Simd},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;

/// `y` = act(gate) · up, the gate's features coming first in `both` and then as many of up.
pub(crate) fn forward(act: impl Act, isa: Isa, both: &Lanes, y: &mut Lanes) {
    y.reuse(both.features() / 2, both.tokens());
    let (gate, up) = both.values().split_at(both.values().len() / 2);
    let parts = gate.par_chunks(PER_TASK).zip(up.par_chunks(PER_TASK));
    y.values_mut()
        .par_chunks_mut(PER_TASK)
        .zip(parts)
        .for_each(|(y, (gate, up))| isa.run(Forward { act, gate, up, y }));
}

/// Replaces `both` by the gradient by it, from `dy`, that by the output.
pub(crate) fn backward(act: impl Act, isa: Isa, both: &mut Lanes, dy: &Lanes) {
    let half = both.values().len() / 2;
    let (gate, up) = both.values_mut().split_at_mut(half);
    let parts = gate.par_chunks_mut(PER_TASK).zip(up.par_chunks_mut(PER_TASK));
    parts.zip(dy.values().par_chunks(PER_TASK)).for_each(|((gate, up), dy)| isa.run(Backward { act, gate, up, dy }));
}

struct Forward<'a, A> {
    act: A,
    gate: &'a [f32],
    up: &'a [f32],
    y: &'a mut [f32],
}

impl<A: Act> Kernel for Forward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact(S::WIDTH).zip(self.up.chunks_exact(S::WIDTH));
        for (y, (gate, up)) in self.y.chunks_exact_mut(S::WIDTH).zip(pairs) {
            let (value, _) = self.act.value_and_slope(s, s.load(gate));
            s.store(y, s.mul(value, s.load(up)));
        }
    }
}

struct Backward<'a, A> {
    act: A,
    gate: &'a mut [f32],
    up: &'a mut [f32],
    dy: &'a [f32],
}

impl<A: Act> Kernel for Backward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pairs = self.gate.chunks_exact_mut(S::WIDTH).zip(self.up.chunks_exact_mut(S::WIDTH));
        for ((gate, up), dy) in pairs.zip(self.dy.chunks_exact(S::WIDTH)) {
            let (g, u, dy) = (s.load(gate), s.load(up), s.load(dy));
            let (value, slope) = self.act.value_and_slope(s, g);
            s.store(gate, s.mul(s.mul(dy, u), slope));
            s.store(up, s.mul(dy, value));
        }
    }
}
