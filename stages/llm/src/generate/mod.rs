//! Answers: batched greedy decoding with a key-value cache.

mod cache;
mod greedy;

pub use greedy::{Answer, GreedyOptions};
