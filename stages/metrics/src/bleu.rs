//! BLEU as sacrebleu computes it: order 4, smoothing `exp`, one reference.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::text::{count_ngrams, overlap, strip_end, tokenize_13a, tokenize_zh};

const ORDER: usize = 4;

/// How sacrebleu cuts text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BleuTokenizer {
    /// `13a`, after mteval-v13a.pl, for languages that put spaces between words.
    V13a,
    /// `zh`, every Chinese character a token.
    Zh,
}

impl BleuTokenizer {
    /// sacrebleu's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::Zh => "zh",
        }
    }

    /// The signature of a corpus score, in sacrebleu's form. The version is the one whose scores the tests hold.
    pub fn signature(self) -> String {
        format!("nrefs:1|case:mixed|eff:no|tok:{}|smooth:exp|version:2.6.0", self.name())
    }

    fn tokenize(self, text: &str) -> Vec<String> {
        let text = strip_end(text);
        match self {
            Self::V13a => tokenize_13a(text),
            Self::Zh => tokenize_zh(text),
        }
    }
}

/// What BLEU needs to know of one row, or, added up, of many. A bootstrap adds up the rows it has drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BleuStats {
    /// Tokens in the predictions.
    pub prediction_length: u64,
    /// Tokens in the references.
    pub reference_length: u64,
    /// n-grams of the predictions that the references have too, for n = 1…4.
    pub correct: [u64; ORDER],
    /// n-grams in the predictions, for n = 1…4.
    pub total: [u64; ORDER],
}

impl BleuStats {
    /// The statistics of one row.
    pub fn of(tokenizer: BleuTokenizer, prediction: &str, reference: &str) -> Self {
        let prediction = tokenizer.tokenize(prediction);
        let reference = tokenizer.tokenize(reference);
        let mut stats = Self {
            prediction_length: prediction.len() as u64,
            reference_length: reference.len() as u64,
            ..Self::default()
        };
        for n in 1..=ORDER {
            stats.total[n - 1] = (prediction.len() + 1).saturating_sub(n) as u64;
            stats.correct[n - 1] = overlap(&count_ngrams(&prediction, n), &count_ngrams(&reference, n));
        }
        stats
    }

    /// Corpus BLEU, 0–100: sacrebleu's `corpus_score` with `effective_order=False`.
    pub fn score(&self) -> f64 {
        self.bleu(false)
    }

    /// BLEU of one row, 0–100: sacrebleu's `sentence_bleu`, which leaves out the orders that the prediction is too
    /// short for. For showing and for counting wins; a mean of these is not corpus BLEU.
    pub fn sentence_score(&self) -> f64 {
        self.bleu(true)
    }

    fn bleu(&self, effective_order: bool) -> f64 {
        if self.correct.iter().all(|&c| c == 0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let mut order = ORDER;
        let mut precisions = [0.0_f64; ORDER];
        for (n, precision) in precisions.iter_mut().enumerate() {
            if self.total[n] == 0 {
                break;
            }
            if effective_order {
                order = n + 1;
            }
            *precision = if self.correct[n] == 0 {
                smoothing *= 2.0;
                100.0 / (smoothing * self.total[n] as f64)
            } else {
                100.0 * self.correct[n] as f64 / self.total[n] as f64
            };
        }
        // sacrebleu's logarithm of zero: the score becomes zero.
        let log = |p: f64| if p == 0.0 { -9_999_999_999.0 } else { p.ln() };
        self.brevity_penalty() * (precisions[..order].iter().map(|&p| log(p)).sum::<f64>() / order as f64).exp()
    }

    fn brevity_penalty(&self) -> f64 {
        if self.prediction_length >= self.reference_length {
            1.0
        } else if self.prediction_length == 0 {
            0.0
        } else {
            (1.0 - self.reference_length as f64 / self.prediction_length as f64).exp()
        }
    }
}

impl AddAssign for BleuStats {
    fn add_assign(&mut self, other: Self) {
        self.prediction_length += other.prediction_length;
        self.reference_length += other.reference_length;
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
    }
}

impl Add for BleuStats {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::iter::Sum for BleuStats {
    fn sum<I: Iterator<Item = Self>>(rows: I) -> Self {
        rows.fold(Self::default(), Add::add)
    }
}
