//! Training: what is trained and towards what, batches, gradients, the optimizer, validation, and a snapshot to resume from.

mod composed;
mod config;
mod gradient;
mod history;
mod likelihood;
mod objective;
mod optimizer;
mod passes;
mod preference;
mod schedule;
mod shard;
mod sharing;
mod snapshot;
mod trainable;
mod trainer;
mod validation;
mod workers;

pub use crate::fused::ComputePath;
#[cfg(test)]
pub(crate) use composed::{composed_by_layers, composed_gradient};
pub use config::{Schedule, TrainConfig, Warmup};
#[cfg(test)]
pub(crate) use gradient::{GradientBy, RowWeights};
pub(crate) use gradient::{NamedRow, Weights, accumulate};
pub use history::{HISTORY_FILE, HistoryRow, write_history};
pub(crate) use likelihood::Likelihood;
pub use objective::Objective;
pub use passes::{LargestPass, PaddedPasses};
pub use preference::{Preference, PreferenceLoss, PreferenceMethod, PreferenceMetrics};
pub use sharing::Sharing;
pub use snapshot::SnapshotPolicy;
pub use trainable::{Trainable, ValueGroup};
pub use trainer::{TrainEvent, TrainSettings, Trained, train, train_towards};
pub(crate) use workers::Workers;

#[cfg(test)]
mod tests;
