//! Text metrics and paired statistics: plain functions over text and numbers.
//!
//! A metric gives the same numbers as the tool it is named after, which the tests hold against that tool's own
//! output: BLEU against sacrebleu, ROUGE against `rouge_score`, the `lf` variants against LLaMA-Factory's definitions.
//!
//! # Names
//! Every variant has a full name, `family:variant`, and the scale of its tool. The short names are what people read
//! and write; each stands for the standard variant of the language of the references:
//!
//! | short name | scale | English | Chinese |
//! | --- | --- | --- | --- |
//! | `bleu` | 0–100 | `bleu:sacrebleu-13a` | `bleu:sacrebleu-zh` |
//! | `rouge_1`, `rouge_2`, `rouge_l` | 0–1 | `rouge:rouge1`, `rouge:rouge2`, `rouge:rougeL` | `rouge:lf-1`, `rouge:lf-2`, `rouge:lf-l` (÷ 100) |
//! | `token_f1` | 0–1 | `token_f1:squad` | `token_f1:char` |
//! | `exact_match` | 0–1 | the same for both | |
//!
//! A corpus value is the mean over the rows, except BLEU, whose n-gram counts are summed over the rows first.

mod bleu;
mod exact_match;
mod language;
mod lf_bleu;
mod lf_rouge;
mod metric;
mod rouge;
mod score;
pub mod statistics;
mod text;
mod token_f1;

pub use bleu::{BleuStats, BleuTokenizer};
pub use exact_match::exact_match;
pub use language::{Family, Language};
pub use lf_bleu::lf_char_bleu;
pub use lf_rouge::{LfRouge, lf_rouge};
pub use metric::{METRICS, Metric, metric};
pub use rouge::{Rouge, rouge};
pub use score::{Scores, score_rows};
pub use text::jieba_words;
pub use token_f1::{char_f1, squad_f1};
