//! One file or folder per command.

pub(crate) mod best;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod exec_step;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod graph;
pub(crate) mod import;
mod memory;
pub(crate) mod new;
mod open;
pub(crate) mod plan;
pub(crate) mod probe_device;
mod recall;
mod repeat;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schema;
mod scores;
mod selection;
mod signals;
mod sweep;
pub(crate) mod warden;
mod watch;

use crate::{
    args::{Cli, Command},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::Ui,
};

/// Carries a command out.
pub(crate) fn dispatch(cli: Cli, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(args) => run::run(args, ui, environment),
        Command::Check(args) => check::check(&args, ui, environment),
        Command::Plan(args) => plan::plan(&args, ui, environment),
        Command::Explain(args) => explain::explain(&args, ui, environment),
        Command::Graph(args) => graph::graph(&args, ui),
        Command::Runs(args) => runs::runs(args, ui, environment),
        Command::Best(args) => best::best(&args, ui, environment),
        Command::Get(args) => get::get(&args, ui, environment),
        Command::Cache(args) => cache::cache(args, ui, environment),
        Command::Config(args) => config::config(args, ui, environment),
        Command::Schema(args) => schema::schema(&args, ui),
        Command::Doctor(args) => doctor::doctor(&args, ui, environment),
        Command::Completions(args) => completions::completions(&args, ui),
        Command::New(args) => new::new(&args, ui),
        Command::Import(args) => import::import(&args, ui),
        Command::ProbeDevice(args) => probe_device::probe_device(&args, ui),
        Command::ExecStep(args) => Ok(exec_step::exec_step(&args)),
        Command::Warden(args) => Ok(warden::warden(&args)),
    }
}
