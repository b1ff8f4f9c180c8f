//! What the user wrote, as plain types, and what was given in its place on the command line.

mod apply;
mod overrides;
mod pipeline;

pub use overrides::{Override, OverrideError};
pub use pipeline::{NAME_PATTERN, PinnedSource, PipelineSpec, SourceSpec, StageSpec, is_name};

pub(crate) use apply::apply;
