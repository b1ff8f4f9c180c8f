//! Chat templates: Jinja as transformers runs it.

mod chat;
mod functions;
mod source;

pub use chat::{ChatTemplate, Message};
pub(crate) use source::{SPECIALS, from_folder, from_gguf, specials_of_folder, specials_of_gguf, text_of_gguf};
