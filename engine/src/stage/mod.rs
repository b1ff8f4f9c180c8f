//! The contract between the engine and a stage kind.

mod artifact;
mod context;
mod error;
mod event;
mod kind;
mod outlook;
mod outside;
mod port;
mod program;

pub use artifact::ArtifactKind;
pub use context::{Settings, StepContext, file_in};
pub use error::{Place, StageError};
pub use event::{Event, EventSink, Progress};
pub use kind::{LoweredParams, ParamProblem, Registry, Section, Stage, StageKind, Work};
pub use outlook::{Foreseen, MemoryEstimate, MemoryPlace, Outlook};
pub use outside::{Outside, Variables};
pub use port::{InputPort, OpenPorts, OutputDecl, OutputPort, Resource};
pub use program::{OutputPlace, Program, ProgramContext, ProgramStage};
