//! Models written to disk for other tools.

mod config;
mod float;
mod folder;
mod shards;

pub use float::FloatType;
