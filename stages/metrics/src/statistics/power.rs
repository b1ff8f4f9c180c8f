//! The smallest effect that a number of rows can see.

use super::{binomial::at_most, wilson::quantile};

/// The mean difference that rows spread like these show with probability `power`:
/// (z of the confidence + z of the power) · standard deviation / √n. Zero when no two rows differ.
pub fn smallest_mean_difference(differences: &[f64], confidence: f64, power: f64) -> f64 {
    let n = differences.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
    // The quantile of a one-sided probability `power` is the two-sided one of 2·power − 1.
    (quantile(confidence) + quantile(2.0 * power - 1.0)) * (variance / n).sqrt()
}

/// The win rate among `decided` rows (no ties) that the exact sign test finds with probability `power`.
/// `None` when even winning every row would not be enough.
pub fn smallest_win_rate(decided: u64, confidence: f64, power: f64) -> Option<f64> {
    let significant = |losses: u64| 2.0 * at_most(losses, decided, 0.5) <= 1.0 - confidence;
    if decided == 0 || !significant(0) {
        return None;
    }
    // The most losses that are still significant.
    let (mut yes, mut no) = (0, decided / 2 + 1);
    while no - yes > 1 {
        let middle = u64::midpoint(yes, no);
        if significant(middle) { yes = middle } else { no = middle }
    }
    let found = |win_rate: f64| at_most(yes, decided, 1.0 - win_rate) >= power;
    let (mut low, mut high) = (0.5, 1.0 - 1e-12);
    if !found(high) {
        return None;
    }
    while high - low > 1e-6 {
        let middle = f64::midpoint(low, high);
        if found(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
