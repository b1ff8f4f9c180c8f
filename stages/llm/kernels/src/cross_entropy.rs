//! Softmax cross-entropy over logits that lie in lanes: one row per entry of the vocabulary, the targets beside each other.

use rayon::prelude::*;

use crate::{
    Isa, Lanes,
    simd::{Kernel, Simd, exp},
};

/// Entries of the vocabulary that one task goes through; also the order of the sums.
const ENTRIES_PER_TASK: usize = 1024;

/// Entries that are added up in f32. Beside the 1 of a nearly certain token, what the many others add would be lost.
const ENTRIES_PER_SUM: usize = 32;

/// −ln p(target) for each target. `logits` become their gradient by the sum of the losses times `weight`, if there is one.
pub fn losses(isa: Isa, logits: &mut Lanes, targets: &[u32], weight: Option<f32>) -> Vec<f64> {
    let stride = logits.stride();
    let chunk = stride * ENTRIES_PER_TASK;
    let aimed: Vec<f32> = targets.iter().enumerate().map(|(at, target)| logits.row(*target as usize)[at]).collect();
    let parts: Vec<(Vec<f32>, Vec<f64>)> = logits
        .values()
        .par_chunks(chunk)
        .map(|logits| {
            let (mut largest, mut some, mut totals) = (vec![f32::MIN; stride], vec![0f32; stride], vec![0f64; stride]);
            isa.run(Sums { logits, largest: &mut largest, some: &mut some, totals: &mut totals });
            (largest, totals)
        })
        .collect();
    let mut largest = vec![f32::MIN; stride];
    for (part, _) in &parts {
        largest.iter_mut().zip(part).for_each(|(most, value)| *most = most.max(*value));
    }
    let mut sums = vec![0f64; stride];
    for (part, values) in &parts {
        for (((sum, most), of_part), value) in sums.iter_mut().zip(&largest).zip(part).zip(values) {
            *sum += *value * f64::from(of_part - most).exp();
        }
    }
    let log_sums: Vec<f64> = sums.into_iter().map(f64::ln).collect();
    if let Some(weight) = weight {
        let towards: Vec<f32> = log_sums.iter().map(|sum| *sum as f32).collect();
        logits.values_mut().par_chunks_mut(chunk).for_each(|logits| {
            isa.run(Probabilities { logits, largest: &largest, log_sums: &towards, weight, tokens: targets.len() });
        });
        for (at, target) in targets.iter().enumerate() {
            logits.values_mut()[*target as usize * stride + at] -= weight;
        }
    }
    let above = largest.iter().zip(&aimed).map(|(most, aimed)| f64::from(*most) - f64::from(*aimed));
    above.zip(&log_sums).map(|(above, sum)| above + sum).collect()
}

/// The entry with the largest logit of each token; of equal ones the first.
pub fn most_likely(isa: Isa, logits: &Lanes) -> Vec<u32> {
    let stride = logits.stride();
    let parts: Vec<(Vec<f32>, Vec<u32>)> = logits
        .values()
        .par_chunks(stride * ENTRIES_PER_TASK)
        .enumerate()
        .map(|(part, logits)| {
            let (mut largest, mut entries) = (vec![f32::NEG_INFINITY; stride], vec![0; stride]);
            let first = (part * ENTRIES_PER_TASK) as u32;
            isa.run(MostLikely { logits, first, largest: &mut largest, entries: &mut entries });
            (largest, entries)
        })
        .collect();
    let (mut largest, mut entries) = (vec![f32::NEG_INFINITY; stride], vec![0; stride]);
    for (part, of_part) in &parts {
        for ((most, entry), (value, at)) in largest.iter_mut().zip(&mut entries).zip(part.iter().zip(of_part)) {
            if value > most {
                (*most, *entry) = (*value, *at);
            }
        }
    }
    entries.truncate(logits.tokens());
    entries
}

/// The largest logit of each token in some entries, and which it is.
struct MostLikely<'a> {
    logits: &'a [f32],
    /// Number of the first entry.
    first: u32,
    largest: &'a mut [f32],
    entries: &'a mut [u32],
}

impl Kernel for MostLikely<'_> {
    type Output = ();

    /// Written so that the compiler makes vectors of it: comparisons are the one thing [`Simd`] has not.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let stride = self.largest.len();
        for (entry, row) in (self.first..).zip(self.logits.chunks_exact(stride)) {
            for ((most, at), logit) in self.largest.iter_mut().zip(self.entries.iter_mut()).zip(row) {
                let more = *logit > *most;
                *at = if more { entry } else { *at };
                *most = if more { *logit } else { *most };
            }
        }
    }
}

/// The largest logit of each token in some entries, and Σ exp(logit − largest) over them.
struct Sums<'a> {
    logits: &'a [f32],
    largest: &'a mut [f32],
    /// For the sum over some of them.
    some: &'a mut [f32],
    totals: &'a mut [f64],
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
        for rows in self.logits.chunks(ENTRIES_PER_SUM * stride) {
            self.some.fill(0.0);
            for row in rows.chunks_exact(stride) {
                let columns = row.chunks_exact(S::WIDTH).zip(self.largest.chunks_exact(S::WIDTH));
                for (sum, (logit, most)) in self.some.chunks_exact_mut(S::WIDTH).zip(columns) {
                    s.store(sum, s.add(s.load(sum), exp(s, s.sub(s.load(logit), s.load(most)))));
                }
            }
            for (total, some) in self.totals.iter_mut().zip(self.some.iter()) {
                *total += f64::from(*some);
            }
        }
    }
}

/// Logits become weight · p; padding becomes 0.
struct Probabilities<'a> {
    logits: &'a mut [f32],
    /// The largest logit of each token, which is taken off first: what is left of a nearly certain one is as small as ln p.
    largest: &'a [f32],
    /// ln Σ exp(logit − largest).
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
            let sums = self.largest.chunks_exact(S::WIDTH).zip(self.log_sums.chunks_exact(S::WIDTH));
            for (logit, (most, sum)) in row.chunks_exact_mut(S::WIDTH).zip(sums) {
                let below = s.sub(s.load(logit), s.load(most));
                s.store(logit, s.mul(weight, exp(s, s.sub(below, s.load(sum)))));
            }
            row[self.tokens..].fill(0.0);
        }
    }
}
