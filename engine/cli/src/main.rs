//! The `refit` command: the only place that reads the environment or writes the terminal.

mod allocator;
mod args;
mod commands;
mod config;
mod environment;
mod exit_code;
mod failure;
mod machine;
mod remote;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::{args::Cli, environment::Environment, failure::Failure, ui::Ui};

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    allocator::give_back_soon(cli.command.is_internal());
    let flags = cli.global.config();
    let bare = Environment::bare(&flags);
    // A worker and a prober are told all they need by whoever started them.
    let environment =
        if cli.command.is_internal() { Ok(bare.clone()) } else { Environment::read(flags, &args::place(&matches)) };
    let (ui, outcome) = match environment {
        Ok(environment) => {
            let ui = Ui::new(&environment);
            (ui, commands::dispatch(cli, ui, &environment))
        }
        Err(error) => (Ui::new(&bare), Err(Failure::usage(error.into()))),
    };
    let code = outcome.unwrap_or_else(|failure| {
        ui.report(&failure.report);
        failure.code
    });
    code.into()
}
