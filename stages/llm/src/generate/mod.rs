//! Answers: batched decoding with a key-value cache, greedy or sampled.

mod cache;
mod choice;
mod composed;
mod generation;
mod options;
mod sampling;
mod stop;

pub(crate) use generation::common_beginning;
pub use options::{Answer, Generated, GenerationOptions, Prompt, Speed};
pub use sampling::Sampling;
pub use stop::StopStrings;

#[cfg(test)]
mod tests;
