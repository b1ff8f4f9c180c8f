//! All metrics of a set of rows at once.

use std::collections::BTreeMap;

use crate::{
    bleu::{BleuStats, BleuTokenizer},
    exact_match::exact_match,
    language::{Family, Language},
    lf_bleu::lf_char_bleu,
    lf_rouge::lf_rouge,
    rouge::rouge,
    token_f1::{char_f1, squad_f1},
};

/// The scores of a set of predictions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Every metric's value over all rows, by short and by full name; empty when there are no rows.
    pub corpus: BTreeMap<String, f64>,
    /// Every metric's value for each row. BLEU of a row is sacrebleu's `sentence_bleu`.
    pub rows: Vec<BTreeMap<String, f64>>,
    /// How each value of `corpus` was computed, by the same names.
    pub signatures: BTreeMap<String, String>,
}

/// Scores pairs of (prediction, reference).
///
/// The short names stand for the variants of the references' language; the other language's variants are there too,
/// by full name, when [`Language::Auto`] finds both scripts in earnest.
pub fn score_rows<P: AsRef<str>, R: AsRef<str>>(rows: &[(P, R)], language: Language) -> Scores {
    let family = language.family(rows.iter().map(|(_, reference)| reference.as_ref()));
    let mut scores = Scores::default();
    let mut bleu = [BleuStats::default(); 2];
    for (prediction, reference) in rows {
        let (prediction, reference) = (prediction.as_ref(), reference.as_ref());
        let mut row = BTreeMap::from([("exact_match".to_owned(), exact_match(prediction, reference))]);
        for chinese in family.variants() {
            let tokenizer = tokenizer(chinese);
            let stats = BleuStats::of(tokenizer, prediction, reference);
            bleu[usize::from(chinese)] += stats;
            row.insert(format!("bleu:sacrebleu-{}", tokenizer.name()), stats.sentence_score());
            row.extend(if chinese { chinese_row(prediction, reference) } else { english_row(prediction, reference) });
            if chinese == family.chinese {
                for (short, full, factor) in short_names(chinese) {
                    row.insert(short.to_owned(), row[full] * factor);
                }
            }
        }
        scores.rows.push(row);
    }
    for name in scores.rows.first().into_iter().flat_map(BTreeMap::keys) {
        let sum: f64 = scores.rows.iter().map(|row| row[name]).sum();
        scores.corpus.insert(name.clone(), sum / rows.len() as f64);
        scores.signatures.insert(name.clone(), signature(name, family));
    }
    for chinese in family.variants().filter(|_| !rows.is_empty()) {
        let score = bleu[usize::from(chinese)].score();
        scores.corpus.insert(format!("bleu:sacrebleu-{}", tokenizer(chinese).name()), score);
        if chinese == family.chinese {
            scores.corpus.insert("bleu".into(), score);
        }
    }
    scores
}

impl Family {
    /// The languages to report: `true` is Chinese.
    fn variants(self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(move |&chinese| chinese == self.chinese || self.mixed)
    }

    /// The tokenizer that `bleu` stands for.
    pub fn bleu_tokenizer(self) -> BleuTokenizer {
        tokenizer(self.chinese)
    }
}

fn tokenizer(chinese: bool) -> BleuTokenizer {
    if chinese { BleuTokenizer::Zh } else { BleuTokenizer::V13a }
}

fn english_row(prediction: &str, reference: &str) -> Vec<(String, f64)> {
    let rouge = rouge(prediction, reference);
    named([
        ("rouge:rouge1", rouge.rouge1),
        ("rouge:rouge2", rouge.rouge2),
        ("rouge:rougeL", rouge.rouge_l),
        ("rouge:rougeLsum", rouge.rouge_lsum),
        ("token_f1:squad", squad_f1(prediction, reference)),
    ])
}

fn chinese_row(prediction: &str, reference: &str) -> Vec<(String, f64)> {
    let rouge = lf_rouge(prediction, reference);
    named([
        ("rouge:lf-1", lf_round(rouge.rouge_1)),
        ("rouge:lf-2", lf_round(rouge.rouge_2)),
        ("rouge:lf-l", lf_round(rouge.rouge_l)),
        ("bleu:lf-char", lf_round(lf_char_bleu(prediction, reference))),
        ("token_f1:char", char_f1(prediction, reference)),
    ])
}

fn named<const N: usize>(values: [(&str, f64); N]) -> Vec<(String, f64)> {
    values.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// LLaMA-Factory's `round(score * 100, 4)`. Formatting rounds the exact binary value half to even, as Python does.
fn lf_round(score: f64) -> f64 {
    format!("{:.4}", score * 100.0).parse().expect("invariant: a formatted number is a number")
}

/// The short names and what they stand for, with the factor from the variant's scale.
fn short_names(chinese: bool) -> [(&'static str, &'static str, f64); 5] {
    if chinese {
        [
            ("bleu", "bleu:sacrebleu-zh", 1.0),
            ("rouge_1", "rouge:lf-1", 0.01),
            ("rouge_2", "rouge:lf-2", 0.01),
            ("rouge_l", "rouge:lf-l", 0.01),
            ("token_f1", "token_f1:char", 1.0),
        ]
    } else {
        [
            ("bleu", "bleu:sacrebleu-13a", 1.0),
            ("rouge_1", "rouge:rouge1", 1.0),
            ("rouge_2", "rouge:rouge2", 1.0),
            ("rouge_l", "rouge:rougeL", 1.0),
            ("token_f1", "token_f1:squad", 1.0),
        ]
    }
}

fn signature(name: &str, family: Family) -> String {
    if let Some((_, full, factor)) = short_names(family.chinese).into_iter().find(|&(short, ..)| short == name) {
        let scale = if factor < 1.0 { " / 100" } else { "" };
        return format!("{full}{scale} ({})", signature(full, family));
    }
    match name {
        "bleu:sacrebleu-13a" => BleuTokenizer::V13a.signature(),
        "bleu:sacrebleu-zh" => BleuTokenizer::Zh.signature(),
        "bleu:lf-char" => "nltk sentence_bleu|characters|order:4|smooth:method3|rows:mean|scale:100|round:4".into(),
        "rouge:lf-1" | "rouge:lf-2" | "rouge:lf-l" => {
            "rouge_chinese:1.0.3|jieba:0.42.1|ngrams:sets|f:1e-8|rows:mean|scale:100|round:4".into()
        }
        "token_f1:squad" => "lower|no punctuation|no articles|words|rows:mean".into(),
        "token_f1:char" => "lower|no punctuation|han characters and other runs|rows:mean".into(),
        "exact_match" => "outer white space removed|rows:mean".into(),
        _ => "rouge_score:0.1.2|stemmer:no|f|rows:mean".into(),
    }
}
