//! F1 of the tokens two texts share, whatever their order.

use crate::{
    language::is_han,
    text::{count_ngrams, overlap, split},
};

/// `SQuAD`'s F1, 0–1: lower case, ASCII punctuation and the articles a, an, the removed, tokens between white space.
/// When a side has no token left, 1 if both have none, else 0.
pub fn squad_f1(prediction: &str, reference: &str) -> f64 {
    f1(&squad_tokens(prediction), &squad_tokens(reference))
}

/// F1 over characters for Chinese, 0–1: every Han character is a token, so is every run of other letters and digits
/// (lower case); punctuation, symbols and white space are removed. When a side has no token, 1 if both have none, else 0.
pub fn char_f1(prediction: &str, reference: &str) -> f64 {
    f1(&char_tokens(prediction), &char_tokens(reference))
}

fn f1(predicted: &[String], expected: &[String]) -> f64 {
    if predicted.is_empty() || expected.is_empty() {
        return f64::from(u8::from(predicted.is_empty() && expected.is_empty()));
    }
    let shared = overlap(&count_ngrams(predicted, 1), &count_ngrams(expected, 1)) as f64;
    2.0 * shared / (predicted.len() + expected.len()) as f64
}

fn squad_tokens(text: &str) -> Vec<String> {
    let kept: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    split(&kept).filter(|token| !matches!(*token, "a" | "an" | "the")).map(str::to_owned).collect()
}

fn char_tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut run = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_alphanumeric() && !is_han(c) {
            run.push(c);
            continue;
        }
        if !run.is_empty() {
            tokens.push(std::mem::take(&mut run));
        }
        if is_han(c) {
            tokens.push(c.to_string());
        }
    }
    if !run.is_empty() {
        tokens.push(run);
    }
    tokens
}
