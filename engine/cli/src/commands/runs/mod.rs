//! Looking back. Everything but `rm` works beside a run under way.

mod diff;
mod ls;
mod record;
mod rm;
mod show;

use clap::{Args, Subcommand};

pub(crate) use record::{RunRecord, state_name};

use crate::{environment::Environment, exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `runs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  refit runs                      the newest runs of the store here
  refit runs --of pipelines/helpdesk
  refit runs show 4f2             one run; any beginning of its id will do
  refit runs diff 4f2 a81         two runs side by side
  refit runs rm 4f2               forget a run; its results stay until `refit cache gc`")]
pub(crate) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,
    #[command(flatten)]
    ls: ls::LsArgs,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// List runs, newest first.
    Ls(ls::LsArgs),
    /// Show one run: its stages, why they ran, scores.
    Show(show::ShowArgs),
    /// Compare two runs: parameters, inputs, scores.
    Diff(diff::DiffArgs),
    /// Remove the records of runs.
    Rm(rm::RmArgs),
}

/// Looks back.
pub(crate) fn runs(args: RunsArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(RunsCommand::Ls(args.ls)) {
        RunsCommand::Ls(args) => ls::ls(&args, ui, environment),
        RunsCommand::Show(args) => show::show(&args, ui, environment),
        RunsCommand::Diff(args) => diff::diff(&args, ui, environment),
        RunsCommand::Rm(args) => rm::rm(&args, ui, environment),
    }
}
