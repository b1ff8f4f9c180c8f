//! What most commands begin with: the pipeline, its store, its plan.

use std::path::{Path, PathBuf};

use miette::miette;
use refit_cache::{Store, StoreError};
use refit_engine::{
    graph::{self, Pipeline, StageNode},
    location::locate_store,
    plan::{self, Force, Plan, Planner, Sources, Surroundings},
    run::RunError,
    spec::Sweep,
};
use refit_fetch::Fetcher;
use tempfile::TempDir;

use crate::{
    args::{PipelineArgs, StoreArgs, StoreOfArgs},
    environment::Environment,
    failure::Failure,
    ui::Ui,
};

/// Reads and checks the pipeline, and shows what is odd about it.
pub(crate) fn pipeline(args: &PipelineArgs, ui: Ui) -> Result<Pipeline, Failure> {
    let sweep = Sweep::parse(&args.set)?;
    let pipeline = graph::load_sweep(&args.pipeline, &sweep, &refit_stages::registry())?;
    for warning in &pipeline.warnings {
        ui.warning(&miette::Report::new(warning.clone()));
    }
    Ok(pipeline)
}

/// The stages that a name means: one, or copies of one.
pub(crate) fn stages<'p>(pipeline: &'p Pipeline, name: &str) -> Result<Vec<&'p StageNode>, Failure> {
    let named = pipeline.stages.named(name);
    if named.is_empty() {
        let known = pipeline.stages.stages().map(|node| node.name.clone()).collect::<Vec<_>>().join(", ");
        return Err(RunError::UnknownStage { name: name.to_owned(), known }.into());
    }
    Ok(named)
}

/// The one stage that a name means.
pub(crate) fn stage<'p>(pipeline: &'p Pipeline, name: &str) -> Result<&'p StageNode, Failure> {
    let named = stages(pipeline, name)?;
    match named.as_slice() {
        [only] => Ok(only),
        several => {
            let names: Vec<&str> = several.iter().map(|stage| stage.name.as_str()).take(12).collect();
            Err(Failure::usage(miette!(
                code = "run::several_stages",
                help = format!("name one of them: {}", names.join(", ")),
                "`{name}` is {} stages",
                several.len()
            )))
        }
    }
}

/// The folder of the store to use for what lies in `folder`.
pub(crate) fn store_root(args: &StoreArgs, folder: &Path, environment: &Environment) -> PathBuf {
    args.store.clone().or_else(|| environment.store.clone()).unwrap_or_else(|| locate_store(folder))
}

/// The store that belongs to a path, for reading. It must exist.
pub(crate) fn store_of(args: &StoreOfArgs, environment: &Environment) -> Result<Store, Failure> {
    Ok(Store::open_existing(&root_of(args, environment)?)?)
}

/// Where the store that belongs to a path is or would be.
pub(crate) fn root_of(args: &StoreOfArgs, environment: &Environment) -> Result<PathBuf, Failure> {
    let path = fs_err::canonicalize(&args.of)?;
    let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(&path) };
    Ok(store_root(&args.store, folder, environment))
}

/// What fetches sources, as the environment asks for it.
pub(crate) fn fetcher(environment: &Environment) -> Fetcher {
    Fetcher::new(environment.fetch_options())
}

/// A pipeline and what would become of it, seen without a lock.
pub(crate) struct Planned {
    pub(crate) pipeline: Pipeline,
    pub(crate) store: Store,
    pub(crate) sources: Sources,
    pub(crate) plan: Plan,
    /// A plan for a store that is not there yet is a plan over an empty one.
    _empty: Option<TempDir>,
}

/// Plans a pipeline without a lock and without changing anything.
pub(crate) fn planned(
    pipeline: Pipeline,
    args: &StoreArgs,
    force: Force,
    environment: &Environment,
) -> Result<Planned, Failure> {
    let root = store_root(args, &pipeline.folder, environment);
    let (store, empty) = match Store::open_existing(&root) {
        Ok(store) => (store, None),
        Err(StoreError::NoStore { .. }) => {
            let empty = tempfile::tempdir()?;
            (Store::open(empty.path())?, Some(empty))
        }
        Err(error) => return Err(error.into()),
    };
    let sources = Sources::look(&pipeline, &store, None, &fetcher(environment))?;
    let surroundings = Surroundings::new(&store, None, &pipeline.folder, environment.variables.clone());
    let plan = plan::plan(&pipeline, &sources, &Planner::new(&store, &pipeline.name, force, &surroundings))?;
    Ok(Planned { pipeline, store, sources, plan, _empty: empty })
}
