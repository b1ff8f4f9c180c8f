//! Fused CPU kernels of the training core.
//!
//! Activations are [`Lanes`]: one row per feature, and the tokens beside each other in it. Every product then takes its
//! numbers from the weights one by one and meets them with vectors of tokens, so weights need no packing and one copy
//! serves both directions; sums over features (norms, softmax) need no sums within a vector.
//!
//! Sums have one order whatever the number of threads: results are the same bit for bit.

mod act;
mod ahead;
pub mod attention;
pub mod cached;
pub mod cap;
pub mod cross_entropy;
mod gated;
pub mod geglu;
mod lanes;
mod line;
mod matrix;
pub mod norm;
mod outer;
mod packed;
mod pairs;
mod places;
pub mod pointwise;
mod product;
mod reading;
mod right_rows;
mod room;
pub mod rotary;
mod rows;
mod simd;
mod sums;
pub mod swiglu;
mod tasks;
mod tile;
mod weight;

pub use lanes::Lanes;
pub use outer::{TokenPanels, weight_gradient};
pub use pairs::Panels;
pub use product::{Left, Right, Term, product, token_products};
pub use reading::{Lowered, OverTokens, Wanted, read};
pub use refit_blocks::BlockFormat;
pub use rows::{Make, Rows, lay_out};
pub use simd::Isa;
pub use weight::{Precision, Weight};

#[cfg(test)]
mod tests;
