//! Settings: what counts, where it comes from, and how to change it.

mod show;
mod write;

use clap::{Args, Subcommand};

use crate::{
    config::{Key, Scope},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::Ui,
};

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  refit config                                             what counts here, and who says so
  refit config set cache.remote s3://bucket/team           for all who work on the project
  refit config set --user jobs 4                           for me, everywhere
  refit config set --local hub.token hf_…                  for me, in this project only
  refit config get cache.remote

A flag counts over a variable, that over the local file, that over the project's, that over the user's:
  .refit/config.local.toml, .refit/config.toml, ~/.config/refit/config.toml")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
    #[command(flatten)]
    show: show::ShowArgs,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show every setting, its value, and where that comes from.
    Show(show::ShowArgs),
    /// Print the value of one setting.
    Get(GetArgs),
    /// Change a setting in a file; comments and order stay.
    Set(write::SetArgs),
    /// Remove a setting from a file.
    Unset(write::UnsetArgs),
}

/// Which file.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ScopeArgs {
    /// Your own file, for all projects.
    #[arg(long)]
    user: bool,
    /// The project's file, which is committed [default].
    #[arg(long)]
    project: bool,
    /// The file for you in this project, which is not committed.
    #[arg(long)]
    local: bool,
}

impl ScopeArgs {
    fn given(&self) -> Option<Scope> {
        match (self.user, self.project, self.local) {
            (true, ..) => Some(Scope::User),
            (_, true, _) => Some(Scope::Project),
            (.., true) => Some(Scope::Local),
            _ => None,
        }
    }
}

/// Arguments of `config get`.
#[derive(Debug, Args)]
struct GetArgs {
    /// The setting, such as `cache.remote`.
    key: String,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Shows and changes settings.
pub(crate) fn config(args: ConfigArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    match args.command.unwrap_or(ConfigCommand::Show(args.show)) {
        ConfigCommand::Show(args) => show::show(&args, ui, environment),
        ConfigCommand::Get(args) => get(&args, ui, environment),
        ConfigCommand::Set(args) => write::set(&args, ui, environment),
        ConfigCommand::Unset(args) => write::unset(&args, ui, environment),
    }
}

/// Prints one value; nothing, with exit code 1, where there is none.
fn get(args: &GetArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let key = Key::named(&args.key)?;
    let value = match args.scope.given() {
        Some(scope) => environment.find_in(scope, &key.name),
        None => environment.find(&key.name).map(|(value, _)| value),
    };
    let Some(value) = value else {
        ui.note(&format!("`{}` is not set", key.name));
        return Ok(ExitCode::Engine);
    };
    ui.data(&show::plain(&value))?;
    Ok(ExitCode::Ok)
}
