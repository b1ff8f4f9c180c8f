//! The feed-forward part's activation: act(gate) · up, with its gradient, for any activation.

use rayon::prelude::*;

use crate::{
    Isa, Lanes, Make,
    act::Act,
    lanes::PER_TASK,
    simd::{Kernel, Simd},
};

/// act(gate) · up.
pub(crate) struct Gated<'a, A> {
    pub(crate) act: A,
    /// The gate's features, and then as many of up.
    pub(crate) both: &'a Lanes,
}

impl<A: Act> Make for Gated<'_, A> {
    fn features(&self) -> usize {
        self.both.features() / 2
    }

    fn tokens(&self) -> usize {
        self.both.tokens()
    }

    fn make(&self, isa: Isa, first: usize, to: &mut [f32]) {
        let count = to.len() / self.both.stride();
        let [gate, up] = [first, self.features() + first].map(|first| self.both.rows(first..first + count));
        isa.run(Forward { act: self.act, gate, up, y: to });
    }
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
