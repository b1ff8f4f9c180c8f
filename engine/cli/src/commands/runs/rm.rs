use clap::Args;
use refit_cache::{RunId, Wait};
use refit_engine::run::find_run;

use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// Arguments of `runs rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The runs: `latest`, names, or beginnings of ids.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    store: StoreOfArgs,
}

/// Removes the records of runs. Their results stay until `cache gc`.
pub(super) fn rm(args: &RmArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    // A run under way holds the lock, so that it cannot lose its own folder.
    let _lock = store.lock("refit runs rm", Wait::Fail)?;
    let mut runs: Vec<RunId> = args.runs.iter().map(|text| find_run(&store, text)).collect::<Result<_, _>>()?;
    runs.sort();
    runs.dedup();
    for run in &runs {
        fs_err::remove_dir_all(store.run_folder(run))?;
    }
    ui.say(&format!("removed {}; their results stay until `refit cache gc`", count(runs.len(), "run")));
    Ok(ExitCode::Ok)
}
