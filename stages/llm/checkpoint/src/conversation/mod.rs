//! From a conversation to token ids and the loss mask.

mod encode;
mod locate;
mod prompt;

pub use encode::{Encoded, TrainOn, encode_conversation};
pub use prompt::{prompt, stop_tokens};
