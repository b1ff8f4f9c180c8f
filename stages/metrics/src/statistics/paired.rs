//! The comparison of two systems on one metric, and what may be concluded from it.

use serde::{Deserialize, Serialize};

use super::{Interval, SignTest, bleu_bootstrap, mean_bootstrap, sign_flip_test, sign_test};
use crate::bleu::BleuStats;

/// How sure a comparison has to be, and how it draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Confidence of the interval, 0–1.
    pub confidence: f64,
    /// Resamples of the bootstrap and of the permutation test.
    pub resamples: u32,
    /// Seed of both.
    pub seed: u64,
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// A is better.
    #[serde(rename = "a better")]
    ABetter,
    /// B is better.
    #[serde(rename = "b better")]
    BBetter,
    /// These rows cannot tell.
    #[serde(rename = "inconclusive")]
    Inconclusive,
    /// Whatever the difference, it is smaller than the margin.
    #[serde(rename = "equivalent")]
    Equivalent,
}

/// One metric of A and B over the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedComparison {
    /// The metric's value for B minus that for A.
    pub difference: f64,
    /// The bootstrap interval of the difference.
    pub interval: Interval,
    /// p of the difference: of the sign-flip permutation test, or for corpus BLEU of the bootstrap.
    pub p: f64,
    /// Rows won by B, tied, and lost by B.
    pub sign: SignTest,
    higher_is_better: bool,
    confidence: f64,
}

impl PairedComparison {
    /// Compares means of per-row values; both slices are of the same rows in the same order.
    pub fn of_means(a: &[f64], b: &[f64], higher_is_better: bool, sampling: Sampling) -> Self {
        let Sampling { confidence, resamples, seed } = sampling;
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        Self {
            difference: differences.iter().sum::<f64>() / differences.len().max(1) as f64,
            interval: mean_bootstrap(&differences, confidence, resamples, seed),
            p: sign_flip_test(&differences, resamples, seed),
            sign: sign_of(&differences, higher_is_better),
            higher_is_better,
            confidence,
        }
    }

    /// Compares corpus BLEU; wins are counted by the rows' own BLEU.
    pub fn of_bleu(a: &[BleuStats], b: &[BleuStats], sampling: Sampling) -> Self {
        let Sampling { confidence, resamples, seed } = sampling;
        let bootstrap = bleu_bootstrap(a, b, confidence, resamples, seed);
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b.sentence_score() - a.sentence_score()).collect();
        Self {
            difference: bootstrap.difference,
            interval: bootstrap.interval,
            p: bootstrap.p,
            sign: sign_of(&differences, true),
            higher_is_better: true,
            confidence,
        }
    }

    /// A side is better when the interval excludes zero, the test of the difference agrees, and the sign test does not
    /// say the opposite. The two tests guard each other: few rows make a bootstrap interval too narrow.
    /// Equivalent when a margin is given and the whole interval lies within it.
    pub fn verdict(&self, margin: Option<f64>) -> Verdict {
        if margin.is_some_and(|margin| self.interval.within(margin)) {
            return Verdict::Equivalent;
        }
        if !self.interval.excludes_zero() || self.p > self.alpha() || self.sign_contradicts() {
            Verdict::Inconclusive
        } else if self.favours_b() {
            Verdict::BBetter
        } else {
            Verdict::ABetter
        }
    }

    /// Whether the sign test is significant in the direction opposite to the difference.
    pub fn sign_contradicts(&self) -> bool {
        self.sign.p <= self.alpha() && (self.sign.wins > self.sign.losses) != self.favours_b()
    }

    /// Whether the difference is in B's favour.
    pub fn favours_b(&self) -> bool {
        (self.difference > 0.0) == self.higher_is_better
    }

    /// The error rate that goes with the confidence; a hair above, for confidences such as 0.95 are no exact numbers.
    pub fn alpha(&self) -> f64 {
        1.0 - self.confidence + 1e-12
    }
}

fn sign_of(differences: &[f64], higher_is_better: bool) -> SignTest {
    let oriented: Vec<f64> = differences.iter().map(|&d| if higher_is_better { d } else { -d }).collect();
    sign_test(&oriented)
}
