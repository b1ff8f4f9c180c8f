//! BLEU-4 as LLaMA-Factory reports it: nltk's `sentence_bleu` over *characters* with smoothing method 3.

use crate::text::{count_ngrams, overlap};

const ORDER: usize = 4;

/// BLEU-4 of one row over characters, 0–1, before LLaMA-Factory's rounding; 0 when no character is shared.
pub fn lf_char_bleu(prediction: &str, reference: &str) -> f64 {
    let predicted: Vec<char> = prediction.chars().collect();
    let expected: Vec<char> = reference.chars().collect();
    let correct: [u64; ORDER] =
        std::array::from_fn(|n| overlap(&count_ngrams(&predicted, n + 1), &count_ngrams(&expected, n + 1)));
    if correct[0] == 0 {
        return 0.0;
    }
    let mut zeros = 0;
    let mut log_sum = 0.0;
    for (n, &correct) in correct.iter().enumerate() {
        let total = predicted.len().saturating_sub(n).max(1) as f64;
        let precision = if correct == 0 {
            // Method 3: the k-th order without a match counts as 1 / 2^k of a match.
            zeros += 1;
            1.0 / (2_f64.powi(zeros) * total)
        } else {
            correct as f64 / total
        };
        log_sum += precision.ln() / ORDER as f64;
    }
    let brevity_penalty = if predicted.len() > expected.len() {
        1.0
    } else {
        (1.0 - expected.len() as f64 / predicted.len() as f64).exp()
    };
    brevity_penalty * log_sum.exp()
}
