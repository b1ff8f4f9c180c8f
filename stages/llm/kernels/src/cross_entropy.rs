//! Softmax cross-entropy over logits that lie in lanes: one row per entry of the vocabulary, the targets beside each other.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    simd::{Kernel, Simd, exp},
};

/// Entries of the vocabulary that one task goes through; also the order of the sums.
const ENTRIES_PER_TASK: usize = 1024;

/// −ln p(target) for each target. `logits` become their gradient by the sum of the losses times `weight`, if there is one.
pub fn losses(isa: Isa, logits: &mut Lanes, targets: &[u32], weight: Option<f32>) -> Vec<f64> {
    let stride = logits.stride();
    let chunk = stride * ENTRIES_PER_TASK;
    let aimed: Vec<f32> = targets.iter().enumerate().map(|(at, target)| logits.row(*target as usize)[at]).collect();
    let parts: Vec<(Vec<f32>, Vec<f32>)> = logits
        .values()
        .par_chunks(chunk)
        .map(|logits| {
            let (mut largest, mut sums) = (vec![f32::MIN; stride], vec![0f32; stride]);
            isa.run(Sums { logits, largest: &mut largest, totals: &mut sums });
            (largest, sums)
        })
        .collect();
    let mut largest = vec![f32::MIN; stride];
    for (part, _) in &parts {
        largest.iter_mut().zip(part).for_each(|(most, value)| *most = most.max(*value));
    }
    let mut sums = vec![0f64; stride];
    for (part, values) in &parts {
        for (((sum, most), of_part), value) in sums.iter_mut().zip(&largest).zip(part).zip(values) {
            *sum += f64::from(*value) * f64::from(of_part - most).exp();
        }
    }
    let log_sums: Vec<f64> = sums.iter().zip(&largest).map(|(sum, most)| sum.ln() + f64::from(*most)).collect();
    if let Some(weight) = weight {
        let towards: Vec<f32> = log_sums.iter().map(|sum| *sum as f32).collect();
        logits.values_mut().par_chunks_mut(chunk).for_each(|logits| {
            isa.run(Probabilities { logits, log_sums: &towards, weight, tokens: targets.len() });
        });
        for (at, target) in targets.iter().enumerate() {
            logits.values_mut()[*target as usize * stride + at] -= weight;
        }
    }
    log_sums.iter().zip(&aimed).map(|(sum, aimed)| sum - f64::from(*aimed)).collect()
}

/// The largest logit of each token in some entries, and Σ exp(logit − largest) over them.
struct Sums<'a> {
    logits: &'a [f32],
    largest: &'a mut [f32],
    totals: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.largest.len();
        for row in self.logits.chunks_exact(stride) {
            for (most, logit) in self.largest.chunks_exact_mut(S::WIDTH).zip(row.chunks_exact(S::WIDTH)) {
                s.store(most, s.max(s.load(most), s.load(logit)));
            }
        }
        for row in self.logits.chunks_exact(stride) {
            let columns = row.chunks_exact(S::WIDTH).zip(self.largest.chunks_exact(S::WIDTH));
            for (sum, (logit, most)) in self.totals.chunks_exact_mut(S::WIDTH).zip(columns) {
                s.store(sum, s.add(s.load(sum), exp(s, s.sub(s.load(logit), s.load(most)))));
            }
        }
    }
}

/// Logits become weight · p; padding becomes 0.
struct Probabilities<'a> {
    logits: &'a mut [f32],
    log_sums: &'a [f32],
    weight: f32,
    tokens: usize,
}

impl Kernel for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.log_sums.len();
        let weight = s.splat(self.weight);
        for row in self.logits.chunks_exact_mut(stride) {
            for (logit, sum) in row.chunks_exact_mut(S::WIDTH).zip(self.log_sums.chunks_exact(S::WIDTH)) {
                s.store(logit, s.mul(weight, exp(s, s.sub(s.load(logit), s.load(sum)))));
            }
            row[self.tokens..].fill(0.0);
        }
    }
}
