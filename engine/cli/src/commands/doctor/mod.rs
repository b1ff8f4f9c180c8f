//! What refit finds on this machine. Changes nothing and asks nothing of the network.

mod devices;
mod findings;
mod links;

use std::path::Path;

use clap::Args;

use self::findings::Findings;
use super::open;
use crate::{
    args::StoreOfArgs,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui},
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit doctor
  refit doctor --of pipelines/helpdesk --json      for a bug report")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows what refit finds on this machine.
pub(crate) fn doctor(args: &DoctorArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let of = &args.store.of;
    let outputs = if of.is_dir() { of.as_path() } else { of.parent().unwrap_or(of) };
    // Of a file beside us, the folder is written as nothing.
    let outputs = if outputs.as_os_str().is_empty() { Path::new(".") } else { outputs };
    let findings = Findings::look(&open::root_of(&args.store, environment)?, outputs, environment)?;
    if args.json {
        ui.data(&serde_json::to_string(&findings)?)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    for (name, value) in findings.lines() {
        table.row([name.to_owned(), value]);
    }
    ui.data(&table.text())?;
    Ok(ExitCode::Ok)
}
