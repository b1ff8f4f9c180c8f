use crate::simd::{Kernel, Simd, exp};

/// Scores `[keys][lanes]` become exp(score − largest of the lane), with their sums.
pub(super) struct Exponents<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) largest: &'a mut [f32],
    pub(super) sums: &'a mut [f32],
}

impl Kernel for Exponents<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.largest.len();
        for row in self.scores.chunks_exact(lanes) {
            for (most, score) in self.largest.chunks_exact_mut(S::WIDTH).zip(row.chunks_exact(S::WIDTH)) {
                s.store(most, s.max(s.load(most), s.load(score)));
            }
        }
        for row in self.scores.chunks_exact_mut(lanes) {
            let columns = self.largest.chunks_exact(S::WIDTH).zip(self.sums.chunks_exact_mut(S::WIDTH));
            for (score, (most, sum)) in row.chunks_exact_mut(S::WIDTH).zip(columns) {
                let value = exp(s, s.sub(s.load(score), s.load(most)));
                s.store(score, value);
                s.store(sum, s.add(s.load(sum), value));
            }
        }
    }
}

/// Scores become probabilities p, and their slopes p · (slope − along).
pub(super) struct Slopes<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) towards: &'a mut [f32],
    pub(super) log_sums: &'a [f32],
    pub(super) along: &'a [f32],
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.along.len();
        for (scores, slopes) in self.scores.chunks_exact_mut(lanes).zip(self.towards.chunks_exact_mut(lanes)) {
            let tables = self.log_sums.chunks_exact(S::WIDTH).zip(self.along.chunks_exact(S::WIDTH));
            let pairs = scores.chunks_exact_mut(S::WIDTH).zip(slopes.chunks_exact_mut(S::WIDTH));
            for ((score, slope), (log_sum, along)) in pairs.zip(tables) {
                let p = exp(s, s.sub(s.load(score), s.load(log_sum)));
                s.store(score, p);
                s.store(slope, s.mul(p, s.sub(s.load(slope), s.load(along))));
            }
        }
    }
}

/// Sums over features, `[features][lanes]`, become weighed means: each lane is divided by its sum of weights.
pub(super) struct Divide<'a> {
    pub(super) values: &'a mut [f32],
    pub(super) by: &'a [f32],
}

impl Kernel for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.values.chunks_exact_mut(self.by.len()) {
            for (value, by) in row.chunks_exact_mut(S::WIDTH).zip(self.by.chunks_exact(S::WIDTH)) {
                s.store(value, s.div(s.load(value), s.load(by)));
            }
        }
    }
}

/// Adds to `sums`, for each lane, the products of two `[features][lanes]` over the features.
pub(super) struct Along<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl Kernel for Along<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.sums.len();
        for (a, b) in self.a.chunks_exact(lanes).zip(self.b.chunks_exact(lanes)) {
            let columns = a.chunks_exact(S::WIDTH).zip(b.chunks_exact(S::WIDTH));
            for (sum, (a, b)) in self.sums.chunks_exact_mut(S::WIDTH).zip(columns) {
                s.store(sum, s.fma(s.load(a), s.load(b), s.load(sum)));
            }
        }
    }
}
