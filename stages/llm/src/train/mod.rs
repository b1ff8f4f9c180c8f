//! Training: what is trained, batches, gradients, the optimizer, validation, and a snapshot to resume from.

mod config;
mod gradient;
mod history;
mod optimizer;
mod schedule;
mod shard;
mod sharing;
mod snapshot;
mod trainable;
mod trainer;
mod validation;
mod workers;

pub use crate::fused::ComputePath;
pub use config::{Schedule, TrainConfig, Warmup};
#[cfg(test)]
pub(crate) use gradient::composed_gradient;
pub(crate) use gradient::{NamedRow, accumulate};
pub use history::{HISTORY_FILE, HistoryRow, write_history};
pub use sharing::Sharing;
pub use snapshot::SnapshotPolicy;
pub use trainable::{Trainable, ValueGroup};
pub use trainer::{TrainEvent, TrainSettings, Trained, train};
pub(crate) use workers::Workers;

#[cfg(test)]
mod tests;
