//! The short way: what is asked for again, over files that nobody touched, is answered without reading the pipeline.

use std::env;

use refit_cache::Store;
use refit_engine::recall::{Question, Recalled};

use super::{open, selection::SelectionArgs};
use crate::{args::PipelineArgs, environment::Environment, failure::Failure};

/// The run that the arguments ask for, if everything in it is known to be cached. Whatever stands in the way, the long way
/// says it better.
pub(super) fn look(
    args: &PipelineArgs,
    selection: &SelectionArgs,
    environment: &Environment,
) -> Result<Option<(Store, Recalled)>, Failure> {
    if !selection.force.is_empty() {
        return Ok(None);
    }
    let Some((store, question)) = question(args, selection, environment) else { return Ok(None) };
    Ok(Recalled::look(&store, question)?.map(|recalled| (store, recalled)))
}

/// The same, whatever has become of the results: the pipeline is as it was when it was found to be right.
pub(super) fn pipeline(args: &PipelineArgs, environment: &Environment) -> Option<Recalled> {
    let (store, question) = question(args, &SelectionArgs::default(), environment)?;
    Recalled::pipeline_as_it_was(&store, question)
}

fn question(args: &PipelineArgs, selection: &SelectionArgs, environment: &Environment) -> Option<(Store, Question)> {
    let pipeline = std::path::absolute(&args.pipeline).ok()?;
    let folder = if pipeline.is_dir() { pipeline.as_path() } else { pipeline.parent().unwrap_or(&pipeline) };
    let store = Store::open_existing(&open::store_root(&args.store, folder, environment)).ok()?;
    let question = Question::new(&pipeline, &args.set, &selection.selection(), &env::current_exe().ok()?)?;
    Some((store, question))
}
