//! `evaluate`: lets a model answer, scores the answers, and measures the loss of the right ones.

mod answer;
mod foresight;
mod kind;
mod params;
mod score;

pub use kind::Evaluate;
pub use params::EvaluateParams;

#[cfg(test)]
mod tests;
