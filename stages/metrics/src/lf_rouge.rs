//! ROUGE as LLaMA-Factory reports it for Chinese: jieba's words joined by spaces, then `rouge_chinese` 1.0.3.
//!
//! ROUGE-N counts n-gram *sets*, the F-measure has `1e-8` in its denominator, and a row is rounded to four decimals of
//! its percentage. These numbers are not those of `rouge_score`.

use std::{collections::HashSet, sync::LazyLock};

use regex::Regex;

use crate::text::{is_space, jieba_words, lcs_length, split, strip_end};

/// The F-measures of one row, 0–1, before LLaMA-Factory's rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LfRouge {
    /// `rouge-1`: shared words.
    pub rouge_1: f64,
    /// `rouge-2`: shared pairs of words.
    pub rouge_2: f64,
    /// `rouge-l`: longest common subsequence of words.
    pub rouge_l: f64,
}

/// The F-measures of one row; 0 when either side is blank.
pub fn lf_rouge(prediction: &str, reference: &str) -> LfRouge {
    if prediction.chars().all(is_space) || reference.chars().all(is_space) {
        return LfRouge::default();
    }
    let (predicted, expected) = (words(prediction), words(reference));
    let (predicted, expected): (Vec<&str>, Vec<&str>) =
        (predicted.iter().map(String::as_str).collect(), expected.iter().map(String::as_str).collect());
    let shared = lcs_length(&expected, &predicted) as f64;
    LfRouge {
        rouge_1: set_f(&predicted, &expected, 1),
        rouge_2: set_f(&predicted, &expected, 2),
        rouge_l: f_measure(shared / predicted.len() as f64, shared / expected.len() as f64),
    }
}

/// `rouge_chinese`'s `cut_sent`, in its order.
static SENTENCE_ENDS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    [r"([。！？\?])([^”’])", r"(\.{6})([^”’])", r"(…{2})([^”’])", r"([。！？\?][”’])([^，。！？\?])"]
        .map(|pattern| Regex::new(pattern).expect("invariant: the pattern is valid"))
});

/// The words of all sentences. A sentence of nothing but spaces is one empty word, as it is in `rouge_chinese`.
fn words(text: &str) -> Vec<String> {
    let mut joined = jieba_words(text).join(" ");
    for end in SENTENCE_ENDS.iter() {
        joined = end.replace_all(&joined, "${1}\n${2}").into_owned();
    }
    let mut words = Vec::new();
    for sentence in strip_end(&joined).split('\n').filter(|sentence| !sentence.is_empty()) {
        let before = words.len();
        words.extend(split(sentence).map(str::to_owned));
        if words.len() == before {
            words.push(String::new());
        }
    }
    words
}

fn set_f(predicted: &[&str], expected: &[&str], n: usize) -> f64 {
    let predicted: HashSet<&[&str]> = predicted.windows(n).collect();
    let expected: HashSet<&[&str]> = expected.windows(n).collect();
    let shared = predicted.intersection(&expected).count() as f64;
    let share = |set: &HashSet<&[&str]>| if set.is_empty() { 0.0 } else { shared / set.len() as f64 };
    f_measure(share(&predicted), share(&expected))
}

fn f_measure(precision: f64, recall: f64) -> f64 {
    2.0 * (precision * recall / (precision + recall + 1e-8))
}
