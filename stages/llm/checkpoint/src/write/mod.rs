//! Models written to disk for other tools.

mod config;
mod float;
mod folder;
mod gguf;
mod shards;

pub use float::FloatType;
pub(crate) use gguf::GgufKeys;
pub use gguf::{GgufLora, GgufType, LoraMatrix};
pub use shards::write_safetensors;
