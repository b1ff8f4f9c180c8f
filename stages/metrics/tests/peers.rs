//! Scores against those of the tools the metrics are named after, pinned by `reference/generate.py`.
#![allow(clippy::unwrap_used)]

use refit_metrics::{Language, Scores, jieba_words, score_rows};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

struct Reference {
    pinned: Value,
    rows: Vec<(String, String)>,
}

fn reference(text: &str) -> Reference {
    let pinned: Value = serde_json::from_str(text).unwrap();
    let rows: Vec<(String, String)> = serde_json::from_value(pinned["rows"].clone()).unwrap();
    assert!(rows.len() >= 500);
    Reference { pinned, rows }
}

fn english() -> Reference {
    reference(include_str!("reference/english.json"))
}

fn chinese() -> Reference {
    reference(include_str!("reference/chinese.json"))
}

impl Reference {
    fn numbers(&self, pointer: &str) -> Vec<f64> {
        self.pinned.pointer(pointer).unwrap().as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn number(&self, pointer: &str) -> f64 {
        self.pinned.pointer(pointer).unwrap().as_f64().unwrap()
    }

    /// Every row and their mean.
    fn agrees(&self, scores: &Scores, name: &str, pointer: &str) {
        let expected = self.numbers(pointer);
        self.rows_agree(scores, name, &expected);
        close(name, scores.corpus[name], expected.iter().sum::<f64>() / expected.len() as f64);
    }

    fn rows_agree(&self, scores: &Scores, name: &str, expected: &[f64]) {
        assert_eq!(scores.rows.len(), expected.len());
        for ((scores, expected), row) in scores.rows.iter().zip(expected).zip(&self.rows) {
            assert!((scores[name] - expected).abs() < TOLERANCE, "{name} is {}, not {expected}: {row:?}", scores[name]);
        }
    }
}

fn close(name: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() < TOLERANCE, "{name} is {found}, not {expected}");
}

#[test]
fn sacrebleu_13a() {
    let reference = english();
    let scores = score_rows(&reference.rows, Language::English);
    close("bleu", scores.corpus["bleu"], reference.number("/bleu_13a/score"));
    close("bleu", scores.corpus["bleu:sacrebleu-13a"], reference.number("/bleu_13a/score"));
    reference.rows_agree(&scores, "bleu", &reference.numbers("/bleu_13a/rows"));
    assert_eq!(scores.signatures["bleu:sacrebleu-13a"], reference.pinned["bleu_13a"]["signature"].as_str().unwrap());

    let reference = chinese();
    let scores = score_rows(&reference.rows, Language::English);
    close("bleu", scores.corpus["bleu"], reference.number("/bleu_13a"));
}

#[test]
fn sacrebleu_zh() {
    let reference = chinese();
    let scores = score_rows(&reference.rows, Language::Chinese);
    close("bleu", scores.corpus["bleu"], reference.number("/bleu_zh/score"));
    reference.rows_agree(&scores, "bleu", &reference.numbers("/bleu_zh/rows"));
    assert_eq!(scores.signatures["bleu:sacrebleu-zh"], reference.pinned["bleu_zh"]["signature"].as_str().unwrap());
}

#[test]
fn rouge_score() {
    let reference = english();
    let scores = score_rows(&reference.rows, Language::English);
    for (name, key) in [("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")] {
        reference.agrees(&scores, name, &format!("/rouge/{key}"));
        reference.agrees(&scores, &format!("rouge:{key}"), &format!("/rouge/{key}"));
    }
    reference.agrees(&scores, "rouge:rougeLsum", "/rouge/rougeLsum");

    let reference = chinese();
    let scores = score_rows(&reference.rows, Language::English);
    for key in ["rouge1", "rouge2", "rougeL", "rougeLsum"] {
        let name = format!("rouge:{key}");
        close(&name, scores.corpus[&name], reference.number(&format!("/rouge/{key}")));
    }
}

#[test]
fn llama_factory() {
    let reference = chinese();
    let scores = score_rows(&reference.rows, Language::Chinese);
    for key in ["1", "2", "l"] {
        reference.agrees(&scores, &format!("rouge:lf-{key}"), &format!("/llamafactory/rouge-{key}"));
        let short = scores.corpus[&format!("rouge_{key}")];
        close("short", short, scores.corpus[&format!("rouge:lf-{key}")] / 100.0);
    }
    reference.agrees(&scores, "bleu:lf-char", "/llamafactory/bleu-4");
}

#[test]
fn jieba() {
    let reference = chinese();
    for (words, (_, text)) in reference.pinned["jieba"].as_array().unwrap().iter().zip(&reference.rows) {
        let words: Vec<&str> = words.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(jieba_words(text), words);
    }
}
