//! The only valid form of a pipeline: names resolved, ports and artifact kinds checked, no cycle.

mod defaults;
mod error;
mod fan_in;
mod fit;
mod flatten;
mod grammar;
mod grid;
mod imports;
mod load;
mod lower;
mod matrix;
mod origin;
mod outputs;
mod params;
mod pipeline;
mod place;
mod sources;
mod stage_graph;
mod terms;
mod uri;
mod wiring;
mod with;
mod wording;

pub(crate) use wording::number;

pub use error::{PipelineError, PipelineErrors};
pub use grid::{Variant, load_sweep, load_sweep_texts};
pub(crate) use load::pipeline_file;
pub use load::{PIPELINE_FILE, load, load_text, load_texts};
pub use matrix::{file_name, split_output};
pub(crate) use origin::Origin;
pub use pipeline::{Export, Pipeline, SourceRef};
pub use stage_graph::{CopyOf, Cycle, CycleEdge, InputRef, Part, StageGraph, StageNode};
pub use terms::{Retries, Terms};
pub use uri::{SCHEMES, SourceUri, UriError};
