//! Makes the text of one turn regular, and says what it changed.

mod characters;
mod code;
mod html;
mod tidy;
mod whitespace;

pub(super) use tidy::{Change, Changes, TextCleaner};
