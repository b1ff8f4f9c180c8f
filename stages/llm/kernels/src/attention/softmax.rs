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

/// Scores become probabilities: exp(score − ln of the lane's sum).
pub(super) struct Probabilities<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) log_sums: &'a [f32],
}

impl Kernel for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for scores in self.scores.chunks_exact_mut(self.log_sums.len()) {
            for (score, log_sum) in scores.chunks_exact_mut(S::WIDTH).zip(self.log_sums.chunks_exact(S::WIDTH)) {
                s.store(score, exp(s, s.sub(s.load(score), s.load(log_sum))));
            }
        }
    }
}

/// Gradients by probabilities p become those by scores, p · (d − Σ p · d) with the sum over the keys of a lane.
pub(super) struct Slopes<'a> {
    pub(super) probabilities: &'a [f32],
    pub(super) d: &'a mut [f32],
    /// Zeros, one for each lane.
    pub(super) sums: &'a mut [f32],
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = self.sums.len();
        for (p, d) in self.probabilities.chunks_exact(lanes).zip(self.d.chunks_exact(lanes)) {
            let columns = p.chunks_exact(S::WIDTH).zip(d.chunks_exact(S::WIDTH));
            for (sum, (p, d)) in self.sums.chunks_exact_mut(S::WIDTH).zip(columns) {
                s.store(sum, s.fma(s.load(p), s.load(d), s.load(sum)));
            }
        }
        for (p, d) in self.probabilities.chunks_exact(lanes).zip(self.d.chunks_exact_mut(lanes)) {
            let columns = p.chunks_exact(S::WIDTH).zip(self.sums.chunks_exact(S::WIDTH));
            for (d, (p, sum)) in d.chunks_exact_mut(S::WIDTH).zip(columns) {
                s.store(d, s.mul(s.load(p), s.sub(s.load(d), s.load(sum))));
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
        let lanes = self.by.len();
        for (at, by) in (0..lanes).step_by(S::WIDTH).zip(self.by.chunks_exact(S::WIDTH)) {
            let by = s.div(s.splat(1.0), s.load(by));
            for row in self.values.chunks_exact_mut(lanes) {
                let value = &mut row[at..at + S::WIDTH];
                s.store(value, s.mul(s.load(value), by));
            }
        }
    }
}
