//! GGUF files (`ggml/docs/gguf.md`): one file holds metadata, tokenizer, template and packed weights.

mod file;
mod model;
mod reader;
mod value;

pub(crate) use file::GgufFile;
pub(crate) use model::{GgufModel, half_split_rows, interleaved_rows};
