//! Bottleneck adapters: small layers behind (or beside) the parts of each block, as the `adapters` library defines them.
//!
//! With h what a part of a block adds and x what it is added to, a block goes on with x + h + s·(U·act(D·z + b) + c), z being
//! h, h + x or x. They are layers of their own and cannot be merged into weights.

mod adapter;
mod config;
mod file;
mod initial;
mod json;
mod trained;

pub use adapter::{BottleneckAdapter, BottleneckModule, BottleneckPart, BottleneckTensor};
pub use config::{
    BottleneckConfig, BottleneckInit, BottleneckInput, BottleneckKind, BottleneckPlace, NonLinearity, ReductionFactor,
};
pub use file::{WEIGHTS_FILE, load, save};

#[cfg(test)]
mod tests;
