//! An activation by itself: act(x), with its gradient.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    act::{Act, Gelu, GeluTanh, LeakyRelu, Relu, Silu, Tanh},
    simd::{Kernel, Simd},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;

/// Which activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointwise {
    /// max(x, 0).
    Relu,
    /// x above 0, and x/100 below.
    LeakyRelu,
    /// x · σ(x).
    Silu,
    /// x · Φ(x).
    Gelu,
    /// The same with Φ approximated by tanh.
    GeluTanh,
    /// tanh x.
    Tanh,
}

/// `y` = act(x).
pub fn forward(act: Pointwise, isa: Isa, x: &Lanes, y: &mut Lanes) {
    match act {
        Pointwise::Relu => values(Relu, isa, x, y),
        Pointwise::LeakyRelu => values(LeakyRelu, isa, x, y),
        Pointwise::Silu => values(Silu, isa, x, y),
        Pointwise::Gelu => values(Gelu, isa, x, y),
        Pointwise::GeluTanh => values(GeluTanh, isa, x, y),
        Pointwise::Tanh => values(Tanh, isa, x, y),
    }
}

/// Turns `d`, the gradient by act(x), into that by x.
pub fn backward(act: Pointwise, isa: Isa, x: &Lanes, d: &mut Lanes) {
    match act {
        Pointwise::Relu => slopes(Relu, isa, x, d),
        Pointwise::LeakyRelu => slopes(LeakyRelu, isa, x, d),
        Pointwise::Silu => slopes(Silu, isa, x, d),
        Pointwise::Gelu => slopes(Gelu, isa, x, d),
        Pointwise::GeluTanh => slopes(GeluTanh, isa, x, d),
        Pointwise::Tanh => slopes(Tanh, isa, x, d),
    }
}

fn values(act: impl Act, isa: Isa, x: &Lanes, y: &mut Lanes) {
    y.reuse(x.features(), x.tokens());
    let parts = y.values_mut().par_chunks_mut(PER_TASK).zip(x.values().par_chunks(PER_TASK));
    parts.for_each(|(y, x)| isa.run(Values { act, x, y }));
}

fn slopes(act: impl Act, isa: Isa, x: &Lanes, d: &mut Lanes) {
    assert_eq!((x.features(), x.tokens()), (d.features(), d.tokens()), "shapes of a gradient do not fit");
    let parts = d.values_mut().par_chunks_mut(PER_TASK).zip(x.values().par_chunks(PER_TASK));
    parts.for_each(|(d, x)| isa.run(Slopes { act, x, d }));
}

struct Values<'a, A> {
    act: A,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<A: Act> Kernel for Values<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_exact_mut(S::WIDTH).zip(self.x.chunks_exact(S::WIDTH)) {
            s.store(y, self.act.value_and_slope(s, s.load(x)).0);
        }
    }
}

struct Slopes<'a, A> {
    act: A,
    x: &'a [f32],
    d: &'a mut [f32],
}

impl<A: Act> Kernel for Slopes<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (d, x) in self.d.chunks_exact_mut(S::WIDTH).zip(self.x.chunks_exact(S::WIDTH)) {
            let slope = self.act.value_and_slope(s, s.load(x)).1;
            s.store(d, s.mul(s.load(d), slope));
        }
    }
}
