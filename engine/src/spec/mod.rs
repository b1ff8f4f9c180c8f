//! What the user wrote, as plain types, and what was given in its place on the command line.

mod apply;
mod decimal;
mod defaults;
mod import;
mod input;
mod items;
mod matrix;
mod overrides;
mod pipeline;
mod quantity;
mod sweep;
mod terms;
mod written;

pub use defaults::DefaultsSpec;
pub use import::ImportSpec;
pub use input::InputSpec;
pub use matrix::{AxisSpec, MatrixAxes, MatrixSpec};
pub use overrides::{Override, OverrideError};
pub use pipeline::{NAME_PATTERN, PinnedSource, PipelineSpec, SourceSpec, StageSpec, is_name};
pub use quantity::{parse_duration, parse_size};
pub use sweep::{Combination, Sweep};
pub use terms::{BackoffSpec, DurationSpec, MutexSpec, ResourcesSpec, RetriesSpec, SizeSpec};
pub use written::written;

pub(crate) use apply::apply;
pub(crate) use items::{closing, items};
