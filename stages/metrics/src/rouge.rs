//! ROUGE F-measures as `rouge_score` 0.1.2 computes them, without its optional stemmer.
//!
//! The stemmer (nltk's Porter with nltk's own extensions) is left out: no maintained crate has that variant.
//! Text is lower-cased and everything but `a-z0-9` is a separator, so text in other scripts scores 0.

use std::collections::{BTreeSet, HashMap};

use crate::text::{count_ngrams, lcs_indices, lcs_length, overlap};

/// The F-measures of one row, 0–1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rouge {
    /// `rouge1`: shared words.
    pub rouge1: f64,
    /// `rouge2`: shared pairs of words.
    pub rouge2: f64,
    /// `rougeL`: longest common subsequence of the whole texts.
    pub rouge_l: f64,
    /// `rougeLsum`: union of the longest common subsequences, line by line.
    pub rouge_lsum: f64,
}

/// The F-measures of one row.
pub fn rouge(prediction: &str, reference: &str) -> Rouge {
    let (predicted, expected) = (tokenize(prediction), tokenize(reference));
    Rouge {
        rouge1: ngram_f(&predicted, &expected, 1),
        rouge2: ngram_f(&predicted, &expected, 2),
        rouge_l: lcs_f(&predicted, &expected),
        rouge_lsum: summary_f(&lines(prediction), &lines(reference)),
    }
}

fn tokenize(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

fn lines(text: &str) -> Vec<Vec<String>> {
    text.split('\n').filter(|line| !line.is_empty()).map(tokenize).collect()
}

fn f_measure(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

fn ngram_f(predicted: &[String], expected: &[String], n: usize) -> f64 {
    let (predicted, expected) = (count_ngrams(predicted, n), count_ngrams(expected, n));
    let shared = overlap(&predicted, &expected) as f64;
    let share = |counts: &HashMap<&[String], u64>| shared / counts.values().sum::<u64>().max(1) as f64;
    f_measure(share(&predicted), share(&expected))
}

fn lcs_f(predicted: &[String], expected: &[String]) -> f64 {
    if predicted.is_empty() || expected.is_empty() {
        return 0.0;
    }
    let shared = lcs_length(expected, predicted) as f64;
    f_measure(shared / predicted.len() as f64, shared / expected.len() as f64)
}

fn summary_f(predicted: &[Vec<String>], expected: &[Vec<String>]) -> f64 {
    let length = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum::<usize>() as f64;
    let (predicted_length, expected_length) = (length(predicted), length(expected));
    if predicted_length == 0.0 || expected_length == 0.0 {
        return 0.0;
    }
    // A token hits at most as often as it occurs on either side.
    let mut left = [token_counts(predicted), token_counts(expected)];
    let mut hits = 0.0;
    for line in expected {
        let union: BTreeSet<usize> = predicted.iter().flat_map(|other| lcs_indices(line, other)).collect();
        for index in union {
            let token = line[index].as_str();
            if left.iter().all(|counts| counts.get(token).is_some_and(|&count| count > 0)) {
                hits += 1.0;
                for counts in &mut left {
                    counts.entry(token).and_modify(|count| *count -= 1);
                }
            }
        }
    }
    f_measure(hits / predicted_length, hits / expected_length)
}

fn token_counts(lines: &[Vec<String>]) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    for token in lines.iter().flatten() {
        *counts.entry(token.as_str()).or_insert(0) += 1;
    }
    counts
}
