//! The only valid form of a pipeline: names resolved, ports and artifact kinds checked, no cycle.

mod error;
mod pipeline;
mod stage_graph;
mod uri;

pub use error::{PipelineError, PipelineErrors};
pub use pipeline::{Export, Pipeline, SourceRef};
pub use stage_graph::{Cycle, CycleEdge, InputRef, StageGraph, StageNode};
pub use uri::{SCHEMES, SourceUri, UriError};
