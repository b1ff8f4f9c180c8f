//! Looking after the store.

mod bundle;
mod du;
mod gc;
mod lost;
mod pin;
mod share;
mod size;
mod target;
mod verify;

use clap::{Args, Subcommand};

pub(crate) use size::age;

use crate::{environment::Environment, exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `cache`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  refit cache                                what the store takes
  refit cache verify                         hash everything; exit code 6 when something is damaged
  refit cache gc --keep-runs 10 --dry-run    what would go
  refit cache gc --older-than 30d --max-size 20GiB
  refit cache pin train.adapter              keep a result whatever `gc` is asked for
  refit cache export 4f2 --to run.refit      a run as one file for another machine
  refit cache push                           share the results of the newest run
  refit cache pull                           bring here what others made of this pipeline")]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: Option<CacheCommand>,
    #[command(flatten)]
    du: du::DuArgs,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Show what the store takes on disk.
    Du(du::DuArgs),
    /// Hash everything in the store; set aside what is damaged.
    Verify(verify::VerifyArgs),
    /// Drop results that no kept run needs.
    Gc(gc::GcArgs),
    /// Write a run or a result into one file that another machine can go on from.
    Export(bundle::ExportArgs),
    /// Take in what `cache export` wrote.
    Import(bundle::ImportArgs),
    /// Keep a run or a result whatever `gc` is asked for.
    Pin(pin::PinArgs),
    /// Let `gc` drop again what was pinned.
    Unpin(pin::UnpinArgs),
    /// List what is pinned.
    Pins(pin::PinsArgs),
    /// Copy the results of a run to the remote cache; runs do so by themselves unless `cache.push` is false.
    Push(share::PushArgs),
    /// Bring the results of stages from the remote cache; runs do so by themselves unless `cache.pull` is false.
    Pull(share::PullArgs),
}

/// Looks after the store.
pub(crate) fn cache(args: CacheArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(CacheCommand::Du(args.du)) {
        CacheCommand::Du(args) => du::du(&args, ui, environment),
        CacheCommand::Verify(args) => verify::verify(&args, ui, environment),
        CacheCommand::Gc(args) => gc::gc(&args, ui, environment),
        CacheCommand::Export(args) => bundle::export(&args, ui, environment),
        CacheCommand::Import(args) => bundle::import(&args, ui, environment),
        CacheCommand::Pin(args) => pin::pin(&args, ui, environment),
        CacheCommand::Unpin(args) => pin::unpin(&args, ui, environment),
        CacheCommand::Pins(args) => pin::pins(&args, ui, environment),
        CacheCommand::Push(args) => share::push(&args, ui, environment),
        CacheCommand::Pull(args) => share::pull(&args, ui, environment),
    }
}
