//! How each tool cuts text into tokens.

mod jieba;
mod lcs;
mod ngrams;
mod python;
mod tokenizer_13a;
mod tokenizer_zh;

pub use jieba::jieba_words;
pub(crate) use lcs::{lcs_indices, lcs_length};
pub(crate) use ngrams::{count_ngrams, overlap};
pub(crate) use python::{is_space, split, strip, strip_end};
pub(crate) use tokenizer_13a::tokenize_13a;
pub(crate) use tokenizer_zh::tokenize_zh;
