//! Training and generation on the CPU as hand-written passes, outside burn and its autodiff.
//!
//! It computes what the composed operations of [`crate::model`] compute, which stay the oracle in tests and do what it
//! does not cover. Tokens lie beside each other ([`refit_kernels::Lanes`]), frozen weights are cut into tiles once, the
//! backward pass is written down, and no gradient by a frozen weight is ever computed. All sums have one order: the
//! number of threads changes no bit.

mod block;
mod bottleneck;
mod changes;
mod coverage;
mod decoder;
mod dense;
mod head;
mod lora;
mod mask;
mod matrix;
mod memory;
mod pass;
mod projection;
mod weights;

pub(crate) use changes::Changes;
pub use coverage::ComputePath;
pub(crate) use decoder::Decoder;
pub(crate) use head::targets_at_once;
pub(crate) use memory::Memory;
pub(crate) use pass::{TargetWeights, gradient, target_losses};
pub(crate) use weights::FusedWeights;

#[cfg(test)]
mod blocks_tests;
#[cfg(test)]
mod instructions_tests;
#[cfg(test)]
mod tests;
