//! The variables a command gets, and their names.

use std::{collections::BTreeMap, ffi::OsString};

use refit_engine::stage::{OutputPlace, ProgramContext, StageError};

use super::params::ExecParams;

/// What is looked up in where the caller has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Variables that every command has.
pub(super) const GIVEN: [&str; 11] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "REFIT_STAGE",
    "REFIT_RUN",
    "REFIT_ATTEMPT",
    "REFIT_THREADS",
    "REFIT_GPUS",
    "REFIT_SCRATCH",
    "REFIT_FOLDER",
];

/// What the names of refit's own variables begin with.
pub(super) const OWN: &str = "REFIT_";

/// The variable that holds the path of a port.
pub(super) fn variable(port: &str) -> String {
    port.replace('-', "_")
}

/// Whether every shell takes it as the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed)
}

/// All variables of a command but its secrets.
pub(super) fn environment(
    params: &ExecParams,
    outputs: &[(String, OutputPlace)],
    step: &ProgramContext<'_>,
) -> BTreeMap<String, OsString> {
    let text = |name: &str, value: &str| (name.to_owned(), OsString::from(value));
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), step.variables.get("PATH").map_or_else(|| PATH.into(), ToOwned::to_owned)),
        ("HOME".to_owned(), step.temporary.into()),
        ("TMPDIR".to_owned(), step.temporary.into()),
        text("LANG", "C.UTF-8"),
        text("REFIT_STAGE", step.stage),
        text("REFIT_RUN", step.run),
        text("REFIT_ATTEMPT", &step.attempt.to_string()),
        text("REFIT_THREADS", &step.settings.threads.to_string()),
        ("REFIT_SCRATCH".to_owned(), step.scratch.into()),
        ("REFIT_FOLDER".to_owned(), step.folder.into()),
    ]);
    if !step.settings.gpus.is_empty() {
        let gpus: Vec<String> = step.settings.gpus.iter().map(ToString::to_string).collect();
        environment.insert("REFIT_GPUS".to_owned(), gpus.join(",").into());
    }
    for (name, value, _) in params.env.entries() {
        let value = value
            .map(|value| OsString::from(value.into_owned()))
            .or_else(|| step.variables.get(name).map(ToOwned::to_owned));
        match value {
            Some(value) => environment.insert(name.to_owned(), value),
            // What is not set for the caller is not set for the command.
            None => environment.remove(name),
        };
    }
    environment.extend(step.inputs.iter().map(|(port, path)| (variable(port), path.into())));
    environment.extend(outputs.iter().map(|(port, place)| (variable(port), step.work.join(place.path()).into())));
    environment
}

/// The secrets by the names of their variables.
pub(super) fn secrets(
    params: &ExecParams,
    step: &ProgramContext<'_>,
) -> Result<BTreeMap<String, OsString>, StageError> {
    let secret = |name: &String| match step.variables.get(name) {
        Some(value) => Ok((name.clone(), value.to_owned())),
        None => Err(StageError::new("exec::no_secret", format!("the secret `{name}` is not set"))
            .help(format!("set it for refit: `{name}=… refit run`; it is neither stored nor shown"))),
    };
    params.secrets.iter().map(secret).collect()
}
