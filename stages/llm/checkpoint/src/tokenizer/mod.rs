//! Tokenizers: from `tokenizer.json`, or built from the metadata of a GGUF file.

mod byte_level;
mod encoding;
mod from_folder;
mod from_gguf;
mod sentence_piece;

pub(crate) use byte_level::rule_of;
pub use encoding::{EncodedText, Tokenizer};
pub(crate) use from_folder::{from_folder, token_text};
pub(crate) use from_gguf::{from_gguf, json_of_gguf};
