//! The feed-forward part's activation: silu(gate) · up.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    simd::{Kernel, Simd, exp},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;

/// `y` = silu(gate) · up, the gate's features coming first in `both` and then as many of up.
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
            s.store(y, s.mul(s.mul(gate, sigmoid(s, gate)), s.load(up)));
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
        let one = s.splat(1.0);
        let pairs = self.gate.chunks_exact_mut(S::WIDTH).zip(self.up.chunks_exact_mut(S::WIDTH));
        for ((gate, up), dy) in pairs.zip(self.dy.chunks_exact(S::WIDTH)) {
            let (g, u, dy) = (s.load(gate), s.load(up), s.load(dy));
            let sigmoid = sigmoid(s, g);
            // silu' = σ·(1 + g·(1 − σ))
            let slope = s.mul(sigmoid, s.fma(g, s.sub(one, sigmoid), one));
            s.store(gate, s.mul(s.mul(dy, u), slope));
            s.store(up, s.mul(dy, s.mul(g, sigmoid)));
        }
    }
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::Vector) -> S::Vector {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}
