use clap::Args;
use refit_cache::Store;

use super::ScopeArgs;
use crate::{
    config::{ConfigFile, Key, Scope},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::Ui,
};

/// Arguments of `config set`.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The setting, such as `cache.remote`.
    key: String,
    /// Its value.
    value: String,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Arguments of `config unset`.
#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// The setting, such as `cache.remote`.
    key: String,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Sets a value in a file.
pub(super) fn set(args: &SetArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let key = Key::named(&args.key)?;
    change(key, Some(&args.value), &args.scope, ui, environment)
}

/// Takes a value out of a file.
pub(super) fn unset(args: &UnsetArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let key = Key::named(&args.key)?;
    change(key, None, &args.scope, ui, environment)
}

fn change(
    key: &Key,
    value: Option<&str>,
    scope: &ScopeArgs,
    ui: Ui,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let scope = scope.given().unwrap_or(Scope::Project);
    let path = environment.file(scope);
    let mut file = ConfigFile::read(scope, path.clone())?.unwrap_or_else(|| ConfigFile::empty(scope, path));
    file.set(key, value)?;
    if scope != Scope::User {
        // A file that was written before there is a store must not be committed by accident, or be ignored.
        Store::prepare_settings(environment.project())?;
    }
    let what = if value.is_some() { "set in" } else { "no longer set in" };
    ui.say(&format!("{} {what} {}", key.name, file.path.display()));
    Ok(ExitCode::Ok)
}
