use std::path::PathBuf;

use clap::Args;
use refit_engine::worker;

use crate::exit_code::ExitCode;

/// Arguments of `exec-step`.
#[derive(Debug, Args)]
pub(crate) struct ExecStepArgs {
    /// The run's `plan.json`.
    plan: PathBuf,
    /// The stage.
    step: String,
}

/// Runs one step of a plan in this process.
pub(crate) fn exec_step(args: &ExecStepArgs) -> ExitCode {
    if worker::exec_step(&refit_stages::registry(), &args.plan, &args.step) { ExitCode::Ok } else { ExitCode::Stage }
}
