//! Training on better and worse answers: DPO and its kin.

mod loss;
mod metrics;
mod mismatch;
mod objective;

pub use loss::{PreferenceLoss, PreferenceMethod};
pub use metrics::PreferenceMetrics;
pub use objective::Preference;
pub(crate) use objective::PreferenceStep;

#[cfg(test)]
mod tests;
