//! The command line. Doc comments are the help.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    commands,
    config::{Config, Verbosity},
};

/// Fine-tunes a language model from one YAML file and re-runs only what changed.
#[derive(Debug, Parser)]
#[command(name = "refit", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  refit new my-model                              start from a commented pipeline
  refit run my-model                              run what changed
  refit run my-model -S stages.train.with.rank=32
  refit plan my-model                             what would run, and why
  refit explain train my-model                    one stage in detail
  refit runs diff 4f2 a81                         two runs side by side

Exit codes:
  0 ok, 1 engine or I/O error, 2 usage, 3 a stage failed, 4 invalid pipeline, 5 store in use,
  6 store damaged, 10 something is stale (plan --exit-code), 11 other than the run it
  repeats (run --from-run), 130 interrupted")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// When to use colour [default: auto, on a terminal, unless `NO_COLOR` is set].
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    pub(crate) color: Option<Color>,
    /// Say less: errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: every fact that stages tell.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl GlobalArgs {
    /// The same as a layer of settings.
    pub(crate) fn config(&self) -> Config {
        let verbosity = match (self.quiet, self.verbose) {
            (true, _) => Some(Verbosity::Quiet),
            (false, true) => Some(Verbosity::Verbose),
            (false, false) => None,
        };
        Config { color: self.color, verbosity, ..Config::default() }
    }
}

/// Where the command line points: the pipeline or folder whose configuration counts.
pub(crate) fn place(matches: &ArgMatches) -> PathBuf {
    let mut place = None;
    let mut at = Some(matches);
    while let Some(matches) = at {
        let named = |id: &str| matches.try_get_one::<PathBuf>(id).ok().flatten().cloned();
        place = named("pipeline").or_else(|| named("of")).or(place);
        at = matches.subcommand().map(|(_, below)| below);
    }
    place.unwrap_or_else(|| PathBuf::from("."))
}

impl Command {
    /// Whether refit itself starts it, with all it needs to know.
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Self::ExecStep(_) | Self::ProbeDevice(_) | Self::Warden(_))
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// Which pipeline, with which changes, over which store.
#[derive(Debug, Clone, Args)]
pub(crate) struct PipelineArgs {
    /// A pipeline file, or a folder that holds `pipeline.yaml`.
    #[arg(default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) pipeline: PathBuf,
    /// Change a value for this once, such as `stages.train.with.rank=16` or `params.epochs=2`.
    ///
    /// Several values, parted by commas or given as range(1,9,2), logrange(1e-5,1e-3,3) or choice(a,b), are a sweep: one
    /// run for each combination. A text with a comma in it stands in quotation marks: `'name="a, b"'`.
    #[arg(short = 'S', long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store's folder, instead of the nearest `.refit`; `REFIT_STORE` says the same.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
}

/// Which store, for commands that are about no pipeline.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreOfArgs {
    /// The pipeline, or any folder, whose store is meant.
    #[arg(long, value_name = "PATH", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) of: PathBuf,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Command {
    /// Run a pipeline: only what changed since its results were made.
    Run(commands::run::RunArgs),
    /// Check a pipeline file and show all its mistakes.
    Check(commands::check::CheckArgs),
    /// Show what would run, and why.
    Plan(commands::plan::PlanArgs),
    /// Show all about one stage: what it would do and why, its inputs, its last run.
    Explain(commands::explain::ExplainArgs),
    /// Draw the stages and what flows between them.
    Graph(commands::graph::GraphArgs),
    /// Look back: list, show, compare, name and remove runs.
    Runs(commands::runs::RunsArgs),
    /// Pick the run with the best score, and copy its results out.
    Best(commands::best::BestArgs),
    /// Copy a result out of the store.
    Get(commands::get::GetArgs),
    /// Look after the store: its size, its health, what it keeps.
    Cache(commands::cache::CacheArgs),
    /// Show and change settings: of you, of the project, of this machine.
    Config(commands::config::ConfigArgs),
    /// Print the JSON schema of pipeline files, or the manual of the stage kinds.
    Schema(commands::schema::SchemaArgs),
    /// Show what refit finds on this machine.
    Doctor(commands::doctor::DoctorArgs),
    /// Print a completion script for a shell.
    Completions(commands::completions::CompletionsArgs),
    /// Begin a pipeline: a commented file with sample data.
    New(commands::new::NewArgs),
    /// Make a pipeline of another tool's file: a `dvc.yaml`.
    Import(commands::import::ImportArgs),
    /// Open a device in this process; `doctor` calls it.
    #[command(hide = true)]
    ProbeDevice(commands::probe_device::ProbeDeviceArgs),
    /// One step in this process; the engine calls it.
    #[command(hide = true)]
    ExecStep(commands::exec_step::ExecStepArgs),
    /// Watches over the commands of a run, and ends them when the engine was killed; the engine calls it.
    #[command(hide = true)]
    Warden(commands::warden::WardenArgs),
}
