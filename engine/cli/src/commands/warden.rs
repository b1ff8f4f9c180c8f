use clap::Args;
use refit_engine::program;

use crate::exit_code::ExitCode;

/// Arguments of `warden`.
#[derive(Debug, Args)]
pub(crate) struct WardenArgs {
    /// The run.
    run: String,
}

/// Watches over the commands of a run until its engine is gone.
pub(crate) fn warden(args: &WardenArgs) -> ExitCode {
    program::guard(&args.run);
    ExitCode::Ok
}
