//! Language models on burn: families, adapters, training, generation.
//!
//! A [`Model`] is read once from a [`refit_checkpoint::Checkpoint`] and stays frozen; an adapter is a small
//! set of matrices beside it. Everything that computes is made of burn operations, so the same code runs on every device.

pub mod adapter;
pub mod bottleneck;
pub mod device;
mod error;
pub mod footprint;
mod fused;
pub mod generate;
pub mod model;
pub mod random;
#[cfg(test)]
mod reference;
pub mod train;
pub mod weights;

pub use burn::tensor::Device;
pub use error::LlmError;
pub use model::Model;
pub use refit_kernels::Precision;
