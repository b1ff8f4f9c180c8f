use std::{collections::HashMap, hash::Hash};

/// How often each n-gram of `tokens` occurs.
pub(crate) fn count_ngrams<T: Eq + Hash>(tokens: &[T], n: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

/// How many n-grams two texts share, each counted as often as it occurs in both.
pub(crate) fn overlap<T: Eq + Hash>(a: &HashMap<&[T], u64>, b: &HashMap<&[T], u64>) -> u64 {
    a.iter().map(|(ngram, &count)| b.get(ngram).map_or(0, |&other| count.min(other))).sum()
}
