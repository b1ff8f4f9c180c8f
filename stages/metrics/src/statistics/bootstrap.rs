//! Bootstrap intervals: rows are drawn with replacement, always the same row from both sides.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Interval, draw::Draws};
use crate::bleu::BleuStats;

const STREAM: u64 = 1;

/// Below this many rows the interval is corrected for bias and skew (`BCa`).
const FEW_ROWS: usize = 50;

/// The interval of the mean of paired differences: percentile, or `BCa` below 50 rows.
/// Zero width at zero when there are no rows.
pub fn mean_bootstrap(differences: &[f64], confidence: f64, resamples: u32, seed: u64) -> Interval {
    let n = differences.len();
    if n == 0 {
        return Interval { low: 0.0, high: 0.0 };
    }
    let mean = differences.iter().sum::<f64>() / n as f64;
    let mut draws = Draws::new(seed, STREAM);
    let mut means: Vec<f64> =
        (0..resamples).map(|_| (0..n).map(|_| differences[draws.index(n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let (low, high) = if n < FEW_ROWS { bca_levels(differences, mean, &means, tail) } else { (tail, 1.0 - tail) };
    Interval { low: percentile(&means, low), high: percentile(&means, high) }
}

/// Efron's bias-corrected and accelerated levels; the plain ones where the correction is undefined.
fn bca_levels(differences: &[f64], mean: f64, means: &[f64], tail: f64) -> (f64, f64) {
    let normal = Normal::standard();
    // Ties with the estimate count half: differences of few distinct values make many.
    let below = means.iter().filter(|&&m| m < mean - 1e-12).count() as f64;
    let equal = means.iter().filter(|&&m| (m - mean).abs() <= 1e-12).count() as f64;
    let share = (below + equal / 2.0) / means.len() as f64;
    // The mean's jackknife values deviate from their mean by (mean − d) / (n − 1): the factor cancels.
    let deviations = differences.iter().map(|d| d - mean);
    let squares: f64 = deviations.clone().map(|d| d * d).sum();
    if share <= 0.0 || share >= 1.0 || squares == 0.0 {
        return (tail, 1.0 - tail);
    }
    let acceleration = deviations.map(|d| d.powi(3)).sum::<f64>() / (6.0 * squares.powf(1.5));
    let bias = normal.inverse_cdf(share);
    let level = |tail: f64| {
        let z = bias + normal.inverse_cdf(tail);
        normal.cdf(bias + z / (1.0 - acceleration * z))
    };
    (level(tail), level(1.0 - tail))
}

/// The value at a level of sorted values, interpolated as numpy does.
fn percentile(sorted: &[f64], level: f64) -> f64 {
    let position = level * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    below + (above - below) * position.fract()
}

/// A paired bootstrap of corpus BLEU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BleuBootstrap {
    /// Corpus BLEU of B minus that of A.
    pub difference: f64,
    /// Its percentile interval.
    pub interval: Interval,
    /// Two-sided p on centred differences, (c + 1) / (resamples + 1), as sacrebleu's `--paired-bs` has it.
    pub p: f64,
}

/// Corpus BLEU of B minus A over the same rows, with the n-gram statistics summed anew for every resample.
pub fn bleu_bootstrap(a: &[BleuStats], b: &[BleuStats], confidence: f64, resamples: u32, seed: u64) -> BleuBootstrap {
    let n = a.len().min(b.len());
    let difference_of = |rows: &mut dyn Iterator<Item = usize>| {
        let mut sums = [BleuStats::default(); 2];
        for row in rows {
            sums[0] += a[row];
            sums[1] += b[row];
        }
        sums[1].score() - sums[0].score()
    };
    let difference = difference_of(&mut (0..n));
    let mut draws = Draws::new(seed, STREAM);
    let mut differences: Vec<f64> =
        (0..resamples).map(|_| difference_of(&mut (0..n).map(|_| draws.index(n)))).collect();
    let mean = differences.iter().sum::<f64>() / differences.len().max(1) as f64;
    let extreme = differences.iter().filter(|&&d| (d - mean).abs() >= difference.abs() - 1e-9).count();
    differences.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    BleuBootstrap {
        difference,
        interval: Interval { low: percentile(&differences, tail), high: percentile(&differences, 1.0 - tail) },
        p: (extreme + 1) as f64 / (resamples + 1) as f64,
    }
}
