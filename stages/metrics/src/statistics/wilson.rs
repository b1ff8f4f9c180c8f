use statrs::distribution::{ContinuousCDF, Normal};

use super::Interval;

/// The two-sided standard normal quantile for a confidence between 0 and 1.
pub(super) fn quantile(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(0.5 + confidence / 2.0)
}

/// Wilson's interval of a rate; all of 0–1 when nothing was counted.
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let z = quantile(confidence);
    let (rate, n) = (successes as f64 / n as f64, n as f64);
    let centre = rate + z * z / (2.0 * n);
    let half = z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Interval { low: ((centre - half) / scale).max(0.0), high: ((centre + half) / scale).min(1.0) }
}
