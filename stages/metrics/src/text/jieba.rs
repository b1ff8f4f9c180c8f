//! Words as Python's jieba 0.42 cuts them (`jieba.cut`: default dictionary, HMM on).
//!
//! jieba-rs 0.11 has the same dictionary and model, and two differences, both undone here:
//! - It takes more characters for words (CJK extensions) and keeps their runs together; Python only knows
//!   U+4E00–U+9FD5, every other character is a token of its own.
//! - It keeps alphanumeric runs joined by `.`, `_` or `-` in one token (`WES-5.4.5`); Python cuts them by
//!   `[a-zA-Z0-9]+(?:\.\d+)?%?`.

use std::sync::LazyLock;

use jieba_rs::Jieba;
use regex::Regex;

static JIEBA: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Python's `re_skip` of `jieba.finalseg`.
static RUN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[a-zA-Z0-9]+(?:\.[0-9]+)?%?").expect("invariant: the pattern is valid"));

/// The words of `text` in order; together they are `text` again.
pub fn jieba_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let block = in_block(first);
        let end = rest.find(|c| in_block(c) != block).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if block {
            cut_block(run, &mut words);
        } else {
            cut_others(run, &mut words);
        }
        rest = after;
    }
    words
}

/// Python's `re_han_default`.
fn in_block(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fd5}' | 'a'..='z' | 'A'..='Z' | '0'..='9' | '+' | '#' | '&' | '.' | '_' | '%' | '-')
}

fn cut_block<'a>(block: &'a str, words: &mut Vec<&'a str>) {
    for token in JIEBA.cut(block, true) {
        let word = token.word;
        // Only the HMM's path joins runs; what the dictionary holds stays whole in both.
        if word.contains(['.', '_', '-']) && word.is_ascii() && !JIEBA.has_word(word) {
            let mut start = 0;
            for run in RUN.find_iter(word) {
                words.extend((start < run.start()).then(|| &word[start..run.start()]));
                words.push(run.as_str());
                start = run.end();
            }
            words.extend((start < word.len()).then(|| &word[start..]));
        } else {
            words.push(word);
        }
    }
}

/// Every character by itself, a line break of two characters too.
fn cut_others<'a>(run: &'a str, words: &mut Vec<&'a str>) {
    let mut rest = run;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("\r\n") { 2 } else { first.len_utf8() };
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after;
    }
}
