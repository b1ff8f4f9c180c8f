//! GGUF files written: models, and LoRA adapters.

mod adapter;
mod file;
mod metadata;
mod model;
mod number;
mod tokenizer;

pub use adapter::{GgufLora, LoraMatrix};
pub use number::GgufType;
