//! What the end-to-end tests stand on: a sandbox for the real binary, and a tiny model that trains in a second.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failing expectation is how a test fails")]

mod memory_group;
mod sandbox;
mod small_disk;
mod tiny_model;
mod torch;
mod web;

pub use memory_group::MemoryGroup;
pub use sandbox::{Outcome, Sandbox, binary};
pub use small_disk::SmallDisk;
pub use tiny_model::{write_questions, write_tiny_model, write_wide_model};
pub use torch::torch_multiplies_bf16;
pub use web::{Fault, FileServer};
