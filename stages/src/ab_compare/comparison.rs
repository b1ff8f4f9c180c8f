use indexmap::IndexMap;
use refit_metrics::{Language, statistics::Verdict};
use serde::{Deserialize, Serialize};

/// What `comparison.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Taken from the primary metric.
    pub verdict: Verdict,
    /// The verdict with its numbers, in sentences.
    pub summary: Vec<String>,
    /// The metric of the verdict.
    pub primary: String,
    /// How many rows both sides answered.
    pub rows: usize,
    /// How many of them both answered with the same words.
    pub identical_outputs: usize,
    /// What A is called.
    pub name_a: String,
    /// What B is called.
    pub name_b: String,
    /// Every metric, the primary one first. Differences are B minus A in the metric's own scale.
    pub metrics: IndexMap<String, MetricComparison>,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Resamples of the bootstrap and the permutation test.
    pub resamples: u32,
    /// Their seed.
    pub seed: u64,
    /// The margin of equivalence, if one was set.
    pub margin: Option<f64>,
    /// As it was set.
    pub language: Language,
    /// How each metric was computed.
    pub signatures: IndexMap<String, String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// One metric over all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricComparison {
    /// The value of A.
    pub a: f64,
    /// The value of B.
    pub b: f64,
    /// B minus A.
    pub difference: f64,
    /// Lower end of the bootstrap interval of the difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided exact sign test over the rows that are no ties (`McNemar`'s exact test where rows are right or wrong).
    pub p: f64,
    /// Rows on which B is better.
    pub wins: u64,
    /// Rows on which neither is.
    pub ties: u64,
    /// Rows on which A is better.
    pub losses: u64,
    /// Two-sided p of the difference itself: sign-flip permutation; for corpus BLEU the paired bootstrap.
    pub p_difference: f64,
    /// `p_difference` after Holm's correction over all metrics but the primary one, which needs none.
    pub p_holm: f64,
    /// Share of wins among the rows that are no ties, with its Wilson interval: rate, low, high.
    pub win_rate: Option<[f64; 3]>,
    /// The smallest difference that rows spread like these show with a probability of 80 %; unknown for BLEU.
    pub smallest_difference: Option<f64>,
    /// The smallest win rate that the sign test finds with a probability of 80 % among this many decided rows;
    /// `null` when they are too few for any.
    pub smallest_win_rate: Option<f64>,
    /// Whether more is better; a loss is better when it is lower.
    pub higher_is_better: bool,
}
