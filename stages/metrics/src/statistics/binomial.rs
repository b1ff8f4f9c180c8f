//! Binomial probabilities, summed in log space so that large counts neither overflow nor vanish.

use statrs::function::gamma::ln_gamma;

/// ln P[X = k] for X ~ Bin(n, p), 0 < p < 1.
pub(super) fn ln_probability(k: u64, n: u64, p: f64) -> f64 {
    let ln_choose = ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    ln_choose + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()
}

/// P[X ≤ k] for X ~ Bin(n, p).
pub(super) fn at_most(k: u64, n: u64, p: f64) -> f64 {
    let logs: Vec<f64> = (0..=k.min(n)).map(|i| ln_probability(i, n, p)).collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (largest + logs.iter().map(|log| (log - largest).exp()).sum::<f64>().ln()).exp().min(1.0)
}
