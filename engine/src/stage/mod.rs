//! The contract between the engine and a stage kind.

mod artifact;
mod context;
mod error;
mod event;
mod kind;
mod port;

pub use artifact::ArtifactKind;
pub use context::{Settings, StepContext, file_in};
pub use error::{Place, StageError};
pub use event::{Event, EventSink, Progress};
pub use kind::{ParamProblem, Registry, Stage, StageKind};
pub use port::{InputPort, OutputPort, Resource};
