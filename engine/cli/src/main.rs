//! The `refit` command: the only place that reads the environment or writes the terminal.

mod args;
mod commands;
mod environment;
mod exit_code;
mod failure;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Cli, environment::Environment, ui::Ui};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::read();
    let ui = Ui::new(&cli.global, &environment);
    let code = match commands::dispatch(cli, ui, &environment) {
        Ok(code) => code,
        Err(failure) => {
            ui.report(&failure.report);
            failure.code
        }
    };
    code.into()
}
