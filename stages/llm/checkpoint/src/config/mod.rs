//! What a model is, as its files say it.

mod block;
mod gguf;
mod hf;
mod model;
mod rope;
mod rotary;

pub use block::{Activation, AttentionForm, LayerForm, LinearForm, LinearModule, NormForm, NormPlace, PartNames};
pub(crate) use gguf::{GgufConfig, GgufFacts};
pub(crate) use hf::HfConfig;
pub use model::ModelConfig;
pub use rope::RopeScaling;
pub use rotary::{Rotary, RotaryPairs};
