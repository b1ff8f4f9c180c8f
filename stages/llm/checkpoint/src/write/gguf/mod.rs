//! GGUF files written: models, and LoRA adapters.

mod adapter;
mod factors;
mod file;
mod keys;
mod metadata;
mod model;
mod number;
mod tokenizer;

pub use adapter::{GgufLora, LoraMatrix};
pub(crate) use keys::GgufKeys;
pub use number::GgufType;
