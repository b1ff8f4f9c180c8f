use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Cli, exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit completions bash > ~/.local/share/bash-completion/completions/refit
  refit completions zsh > ~/.zfunc/_refit
  refit completions fish > ~/.config/fish/completions/refit.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "refit", &mut script);
    ui.data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::Ok)
}
