//! Statistics for two systems measured on the same rows. Everything that draws is seeded and repeats exactly.

mod binomial;
mod bootstrap;
mod draw;
mod holm;
mod interval;
mod paired;
mod permutation;
mod power;
mod sign_test;
mod wilson;

pub use bootstrap::{BleuBootstrap, bleu_bootstrap, mean_bootstrap};
pub use holm::holm;
pub use interval::Interval;
pub use paired::{PairedComparison, Sampling, Verdict};
pub use permutation::sign_flip_test;
pub use power::{smallest_mean_difference, smallest_win_rate};
pub use sign_test::{SignTest, sign_test};
pub use wilson::wilson;
