//! Root-mean-square norm: y = x / √(mean(x²) + ε) · w.

use rayon::prelude::*;

use crate::{
    Isa, Lanes, Make, lay_out,
    simd::{Kernel, Simd},
    sums::add_up,
};

/// Features that one task goes through; also the order of the sums, so it depends on nothing.
const FEATURES_PER_TASK: usize = 32;

/// What a norm makes.
#[derive(Clone, Copy)]
pub struct Normed<'a> {
    /// What is normed.
    pub x: &'a Lanes,
    /// One for each feature.
    pub weight: &'a [f32],
    /// One for each token, see [`inverse`].
    pub inverse: &'a [f32],
}

impl Make for Normed<'_> {
    fn features(&self) -> usize {
        self.x.features()
    }

    fn tokens(&self) -> usize {
        self.x.tokens()
    }

    fn make(&self, isa: Isa, first: usize, to: &mut [f32]) {
        let features = first..first + to.len() / self.x.stride();
        let (x, weight) = (self.x.rows(features.clone()), &self.weight[features]);
        isa.run(Scale { x, weight, inverse: self.inverse, y: to });
    }
}

/// 1 / √(mean(x²) + ε) of each token.
pub fn inverse(isa: Isa, x: &Lanes, epsilon: f64) -> Vec<f32> {
    let squares = partial_sums(isa, x.values(), x.stride(), |part, sums| {
        isa.run(Squares { x: part, stride: x.stride(), sums });
    });
    let count = x.features() as f64;
    squares.iter().map(|sum| (1.0 / (f64::from(*sum) / count + epsilon).sqrt()) as f32).collect()
}

/// Norms all tokens of `x` to `y` and returns what [`inverse`] does.
pub fn forward(isa: Isa, x: &Lanes, weight: &[f32], epsilon: f64, y: &mut Lanes) -> Vec<f32> {
    let inverse = inverse(isa, x, epsilon);
    lay_out(isa, &Normed { x, weight, inverse: &inverse }, y);
    inverse
}

/// Adds to `dx` the gradient by the norm's input, from `dy`, that by its output.
pub fn backward(isa: Isa, x: &Lanes, weight: &[f32], inverse: &[f32], dy: &Lanes, dx: &mut Lanes) {
    let stride = x.stride();
    let count = x.features() as f32;
    let mut parts = vec![0f32; weight.len().div_ceil(FEATURES_PER_TASK) * stride];
    let rows = x
        .values()
        .par_chunks(stride * FEATURES_PER_TASK)
        .zip(dy.values().par_chunks(stride * FEATURES_PER_TASK))
        .zip(weight.par_chunks(FEATURES_PER_TASK));
    rows.clone().zip(parts.par_chunks_mut(stride)).for_each(|(((x, dy), weight), sums)| {
        isa.run(Weighted { x, dy, weight, sums });
    });
    // d(x·r)/dx = r − x·r³·x/n, with r = 1 / √(mean(x²) + ε).
    let sums = total(isa, &parts, stride);
    let along: Vec<f32> = sums.iter().zip(inverse).map(|(sum, r)| sum * r * r * r / count).collect();
    dx.values_mut().par_chunks_mut(stride * FEATURES_PER_TASK).zip(rows).for_each(|(dx, ((x, dy), weight))| {
        isa.run(Backward { x, dy, weight, inverse, along: &along, dx });
    });
}

/// Norms each head of `x`, which lie in lanes, to `y`, and returns 1 / √(mean(x²) + ε) of each head and token.
pub fn heads_forward(isa: Isa, x: &[f32], stride: usize, weight: &[f32], epsilon: f64, y: &mut [f32]) -> Vec<f32> {
    let head = weight.len() * stride;
    let mut inverse = vec![0f32; x.len() / weight.len()];
    let parts = x.par_chunks(head).zip(y.par_chunks_mut(head)).zip(inverse.par_chunks_mut(stride));
    parts.for_each(|((x, y), inverse)| {
        isa.run(Squares { x, stride, sums: inverse });
        for value in inverse.iter_mut() {
            *value = (1.0 / (f64::from(*value) / weight.len() as f64 + epsilon).sqrt()) as f32;
        }
        isa.run(Scale { x, weight, inverse, y });
    });
    inverse
}

/// Adds to `dx` the gradient by what [`heads_forward`] took, from `dy`, that by what it gave.
pub fn heads_backward(isa: Isa, x: &[f32], stride: usize, weight: &[f32], inverse: &[f32], dy: &[f32], dx: &mut [f32]) {
    let head = weight.len() * stride;
    let parts = x.par_chunks(head).zip(dy.par_chunks(head)).zip(inverse.par_chunks(stride));
    parts.zip(dx.par_chunks_mut(head)).for_each(|(((x, dy), inverse), dx)| {
        let mut along = vec![0f32; stride];
        isa.run(Weighted { x, dy, weight, sums: &mut along });
        for (sum, r) in along.iter_mut().zip(inverse) {
            *sum *= r * r * r / weight.len() as f32;
        }
        isa.run(Backward { x, dy, weight, inverse, along: &along, dx });
    });
}

/// Adds to `out` the gradient by the norm's weight: Σ over tokens of dy · x / √(mean(x²) + ε).
pub fn weight_gradient(x: &Lanes, inverse: &[f32], dy: &Lanes, out: &mut [f32]) {
    let stride = x.stride();
    let rows = x.values().par_chunks(stride).zip(dy.values().par_chunks(stride));
    out.par_iter_mut().zip(rows).for_each(|(to, (x, dy))| {
        let sum: f32 = x.iter().zip(dy).zip(inverse).map(|((x, dy), inverse)| x * inverse * dy).sum();
        *to += sum;
    });
}

/// The same for a norm of heads: `x` and `dy` hold one head after the other, and `inverse` is that of [`heads_forward`].
pub fn heads_weight_gradient(x: &[f32], stride: usize, inverse: &[f32], dy: &[f32], out: &mut [f32]) {
    let width = out.len();
    out.par_iter_mut().enumerate().for_each(|(feature, to)| {
        for (head, inverse) in inverse.chunks_exact(stride).enumerate() {
            let at = (head * width + feature) * stride;
            let rows = x[at..at + stride].iter().zip(&dy[at..at + stride]);
            *to += rows.zip(inverse).map(|((x, dy), inverse)| x * inverse * dy).sum::<f32>();
        }
    });
}

fn partial_sums(isa: Isa, values: &[f32], stride: usize, sum: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut parts = vec![0f32; values.len().div_ceil(stride * FEATURES_PER_TASK) * stride];
    let tasks = values.par_chunks(stride * FEATURES_PER_TASK).zip(parts.par_chunks_mut(stride));
    tasks.for_each(|(values, sums)| sum(values, sums));
    total(isa, &parts, stride)
}

fn total(isa: Isa, parts: &[f32], stride: usize) -> Vec<f32> {
    let mut sums = vec![0f32; stride];
    add_up(isa, parts, 1.0, &mut sums);
    sums
}

struct Squares<'a> {
    x: &'a [f32],
    stride: usize,
    sums: &'a mut [f32],
}

impl Kernel for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.x.chunks_exact(self.stride) {
            for (sum, x) in self.sums.chunks_exact_mut(S::WIDTH).zip(row.chunks_exact(S::WIDTH)) {
                let x = s.load(x);
                s.store(sum, s.fma(x, x, s.load(sum)));
            }
        }
    }
}

struct Scale<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    inverse: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.inverse.len();
        for ((y, x), weight) in self.y.chunks_exact_mut(stride).zip(self.x.chunks_exact(stride)).zip(self.weight) {
            let weight = s.splat(*weight);
            let vectors = x.chunks_exact(S::WIDTH).zip(self.inverse.chunks_exact(S::WIDTH));
            for (y, (x, inverse)) in y.chunks_exact_mut(S::WIDTH).zip(vectors) {
                s.store(y, s.mul(s.mul(s.load(x), s.load(inverse)), weight));
            }
        }
    }
}

struct Weighted<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Weighted<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.sums.len();
        for ((x, dy), weight) in self.x.chunks_exact(stride).zip(self.dy.chunks_exact(stride)).zip(self.weight) {
            let weight = s.splat(*weight);
            let vectors = x.chunks_exact(S::WIDTH).zip(dy.chunks_exact(S::WIDTH));
            for (sum, (x, dy)) in self.sums.chunks_exact_mut(S::WIDTH).zip(vectors) {
                s.store(sum, s.fma(s.mul(s.load(dy), weight), s.load(x), s.load(sum)));
            }
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    weight: &'a [f32],
    inverse: &'a [f32],
    along: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.inverse.len();
        let rows = self.x.chunks_exact(stride).zip(self.dy.chunks_exact(stride)).zip(self.weight);
        for (dx, ((x, dy), weight)) in self.dx.chunks_exact_mut(stride).zip(rows) {
            let weight = s.splat(*weight);
            let vectors = x.chunks_exact(S::WIDTH).zip(dy.chunks_exact(S::WIDTH));
            let tables = self.inverse.chunks_exact(S::WIDTH).zip(self.along.chunks_exact(S::WIDTH));
            for (dx, ((x, dy), (inverse, along))) in dx.chunks_exact_mut(S::WIDTH).zip(vectors.zip(tables)) {
                let straight = s.fma(s.mul(s.load(dy), weight), s.load(inverse), s.load(dx));
                s.store(dx, s.sub(straight, s.mul(s.load(x), s.load(along))));
            }
        }
    }
}
