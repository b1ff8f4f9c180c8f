//! Sums that were begun in several parts, so that their order depends on no number of threads.

use rayon::prelude::*;

use crate::{
    Isa,
    lanes::{PAD, PER_TASK},
    simd::{Kernel, Simd},
};

/// `to` = `by` · Σ of all parts, number by number and in their order. `to` has a multiple of 16, and each part, one behind the other, as many.
pub(crate) fn add_up(isa: Isa, parts: &[f32], by: f32, to: &mut [f32]) {
    let size = to.len();
    let count = parts.len() / size.max(1);
    let per_task = (PER_TASK / count.max(1)).next_multiple_of(PAD);
    to.par_chunks_mut(per_task).enumerate().for_each(|(task, to)| {
        isa.run(AddUp { parts, size, first: task * per_task, by, to });
    });
}

struct AddUp<'a> {
    parts: &'a [f32],
    /// Numbers of each part.
    size: usize,
    /// Which number of the parts the first of `to` is.
    first: usize,
    by: f32,
    to: &'a mut [f32],
}

impl Kernel for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (by, parts) = (s.splat(self.by), self.parts.chunks_exact(self.size));
        for (at, to) in (self.first..).step_by(S::WIDTH).zip(self.to.chunks_exact_mut(S::WIDTH)) {
            let sum = parts.clone().fold(s.splat(0.0), |sum, part| s.add(sum, s.load(&part[at..at + S::WIDTH])));
            s.store(to, s.mul(sum, by));
        }
    }
}
