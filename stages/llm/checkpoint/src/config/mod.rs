//! What a model is, as its files say it.

mod gguf;
mod hf;
mod model;
mod rope;

pub(crate) use gguf::GgufFacts;
pub(crate) use hf::HfConfig;
pub use model::ModelConfig;
pub use rope::RopeScaling;
