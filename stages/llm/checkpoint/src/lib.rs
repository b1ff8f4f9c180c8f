//! Models as they lie on disk: configuration, weights (safetensors, GGUF), tokenizer, chat template.
//!
//! ```text
//! path ─► Checkpoint::open ─┬─► config()         ModelConfig
//!                           ├─► tensor(name)     HostTensor, by Hugging Face names whatever the file
//!                           ├─► tokenizer()      Tokenizer
//!                           ├─► write_folder(), write_gguf()   the same model with other weights, for other tools
//!                           └─► chat_template()  ChatTemplate ─► conversation::encode_conversation
//! ```
//! Nothing here knows a tensor library. Every file is taken as hostile: sizes are checked against the file before
//! anything is allocated, and every mistake is a [`CheckpointError`] with a code, the file and a way out.

mod checkpoint;
mod config;
pub mod conversation;
mod error;
mod family;
mod folder;
mod gguf;
mod map;
mod nf4;
mod numbers;
mod safetensor;
mod template;
mod tensor;
mod tokenizer;
mod write;

pub use checkpoint::Checkpoint;
pub use config::{
    Activation, AttentionForm, LayerForm, LinearForm, LinearModule, ModelConfig, NormForm, NormPlace, PartNames,
    RopeScaling, Rotary, RotaryPairs,
};
pub use error::CheckpointError;
pub use family::Family;
pub use map::MappedFile;
pub use refit_blocks::BlockFormat;
pub use safetensor::read_safetensors;
pub use template::{ChatTemplate, Message};
pub use tensor::{HostTensor, PackedTensor, StoredTensor};
pub use tokenizer::{EncodedText, Tokenizer};
pub use write::{FloatType, GgufLora, GgufType, LoraMatrix, write_safetensors};
