use serde::{Deserialize, Serialize};

use super::binomial::at_most;

/// How often B beats A, and how likely that is when neither is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignTest {
    /// Rows with a positive difference.
    pub wins: u64,
    /// Rows without a difference.
    pub ties: u64,
    /// Rows with a negative difference.
    pub losses: u64,
    /// Two-sided exact p; ties are left out. 1 when every row ties.
    pub p: f64,
}

/// The exact sign test of paired differences: p = min(1, 2·P[Bin(w + l, ½) ≤ min(w, l)]).
///
/// For differences of 0/1 scores such as exact match, this is `McNemar`'s exact test. The rows must be independent.
pub fn sign_test(differences: &[f64]) -> SignTest {
    let count = |keep: fn(f64) -> bool| differences.iter().filter(|&&d| keep(d)).count() as u64;
    let (wins, losses) = (count(|d| d > 0.0), count(|d| d < 0.0));
    let p = if wins == losses { 1.0 } else { (2.0 * at_most(wins.min(losses), wins + losses, 0.5)).min(1.0) };
    SignTest { wins, ties: differences.len() as u64 - wins - losses, losses, p }
}
