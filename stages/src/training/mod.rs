//! What the kinds that train have in common: parameters, the way from tokens to a trained adapter, and the curve.

#[cfg(test)]
pub(crate) mod bench;
mod curve;
mod foresight;
mod params;
pub(crate) mod ports;
mod rows;
mod session;

pub(crate) use foresight::{Asked, ModelHeaders, memory, told, unknown};
pub use params::{LoraParams, OptimizerParams, Schedule};
pub(crate) use params::{hub_name, warmup, warmup_problem};
pub(crate) use rows::TokenPart;
pub(crate) use session::{MANNER, Session};
