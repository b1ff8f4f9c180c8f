//! Looking back. Everything but `rm` works beside a run under way.

mod columns;
mod condition;
mod diff;
mod filter;
mod listing;
mod ls;
mod plot;
mod record;
mod rm;
mod row;
mod sheet;
mod show;
mod tag;

use clap::{Args, Subcommand};

pub(crate) use columns::{importance, telling_parameters};
pub(crate) use condition::{compare, plain};
pub(crate) use filter::{FilterArgs, expect_known};
pub(crate) use record::{RunRecord, state_name};
pub(crate) use row::Row;
pub(crate) use tag::label;

use crate::{environment::Environment, exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `runs`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  refit runs                      the newest runs of the store here
  refit runs --of pipelines/helpdesk
  refit runs --sort -after.rouge_l --where params.rank=8 --since 2d
  refit runs show 4f2             one run; any beginning of its id will do
  refit runs diff latest~1 latest two runs side by side
  refit runs plot baseline latest --to loss.svg
  refit runs name latest baseline
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
    /// Plot the loss of trainings over each other, in the terminal and as a picture.
    Plot(plot::PlotArgs),
    /// Give a run a name, by which it can be named from then on.
    Name(tag::NameArgs),
    /// Put tags on a run and take them off.
    Tag(tag::TagArgs),
    /// Remove the records of runs.
    Rm(rm::RmArgs),
}

/// Looks back.
pub(crate) fn runs(args: RunsArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(RunsCommand::Ls(args.ls)) {
        RunsCommand::Ls(args) => ls::ls(&args, ui, environment),
        RunsCommand::Show(args) => show::show(&args, ui, environment),
        RunsCommand::Diff(args) => diff::diff(&args, ui, environment),
        RunsCommand::Plot(args) => plot::plot(&args, ui, environment),
        RunsCommand::Name(args) => tag::name(&args, ui, environment),
        RunsCommand::Tag(args) => tag::tag(&args, ui, environment),
        RunsCommand::Rm(args) => rm::rm(&args, ui, environment),
    }
}
