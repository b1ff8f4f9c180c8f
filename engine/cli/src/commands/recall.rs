//! The short way: a run asked for again, over files that nobody touched, is answered without reading the pipeline.

use std::env;

use refit_cache::Store;
use refit_engine::recall::{Question, Recalled};

use super::{open, selection::SelectionArgs};
use crate::{args::PipelineArgs, environment::Environment, failure::Failure};

/// The answer to what the arguments ask for, if it is known. Whatever stands in the way, the long way says it better.
pub(crate) fn look(
    args: &PipelineArgs,
    selection: &SelectionArgs,
    environment: &Environment,
) -> Result<Option<(Store, Recalled)>, Failure> {
    if !selection.force.is_empty() {
        return Ok(None);
    }
    let Ok(pipeline) = std::path::absolute(&args.pipeline) else { return Ok(None) };
    let folder = if pipeline.is_dir() { pipeline.as_path() } else { pipeline.parent().unwrap_or(&pipeline) };
    let Ok(store) = Store::open_existing(&open::store_root(&args.store, folder, environment)) else { return Ok(None) };
    let Some(question) = Question::new(&pipeline, &args.set, &selection.selection(), &env::current_exe()?) else {
        return Ok(None);
    };
    Ok(Recalled::look(&store, question)?.map(|recalled| (store, recalled)))
}
