//! Models written by the tests, opened through the public interface; and one real model where it is at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail by panicking and say when they are skipped")]

mod conversation;
mod families;
mod folder;
mod gguf;
mod hostile;
mod llama_cpp;
mod nf4;
mod real;
mod sentence_piece;
mod support;
mod write;
