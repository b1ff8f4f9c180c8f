//! Numbers held within bounds: c · tanh(x / c).

use rayon::prelude::*;

use crate::{
    Isa,
    simd::{Kernel, Simd, tanh},
};

/// Numbers that one task goes through.
const PER_TASK: usize = 1 << 14;

/// Holds all values, which fill whole vectors, in ± `cap`.
pub fn forward(isa: Isa, values: &mut [f32], cap: f32) {
    values.par_chunks_mut(PER_TASK).for_each(|values| isa.run(Cap { values, cap }));
}

/// Makes of `d`, the gradient by values that [`forward`] left as `capped`, that by what they were before.
pub fn backward(isa: Isa, capped: &[f32], cap: f32, d: &mut [f32]) {
    let parts = capped.par_chunks(PER_TASK).zip(d.par_chunks_mut(PER_TASK));
    parts.for_each(|(capped, d)| isa.run(Bend { capped, cap, d }));
}

/// [`forward`] on one thread.
pub(crate) struct Cap<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) cap: f32,
}

impl Kernel for Cap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cap, inverse) = (s.splat(self.cap), s.splat(1.0 / self.cap));
        for value in self.values.chunks_exact_mut(S::WIDTH) {
            s.store(value, s.mul(cap, tanh(s, s.mul(s.load(value), inverse))));
        }
    }
}

/// [`backward`] on one thread.
pub(crate) struct Bend<'a> {
    pub(crate) capped: &'a [f32],
    pub(crate) cap: f32,
    pub(crate) d: &'a mut [f32],
}

impl Kernel for Bend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (one, inverse) = (s.splat(1.0), s.splat(1.0 / self.cap));
        for (d, capped) in self.d.chunks_exact_mut(S::WIDTH).zip(self.capped.chunks_exact(S::WIDTH)) {
            // tanh' = 1 − tanh²
            let t = s.mul(s.load(capped), inverse);
            s.store(d, s.mul(s.load(d), s.sub(one, s.mul(t, t))));
        }
    }
}
