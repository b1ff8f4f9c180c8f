use clap::Args;
use refit_cache::{StoreError, VerifyReport, Wait};
use serde_json::json;

use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, bytes, count},
};

/// Arguments of `cache verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Hashes everything in the store.
pub(super) fn verify(args: &VerifyArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let lock = match store.lock("refit cache verify", Wait::Fail) {
        Ok(lock) => Some(lock),
        // Beside a run, and on a disk that is read-only, only the index is left out.
        Err(
            error @ (StoreError::Locked { .. } | StoreError::ReadOnly { .. } | StoreError::PermissionDenied { .. }),
        ) => {
            ui.note(&format!("the index is not checked: {error}"));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let report = store.verify(lock.as_ref())?;
    if args.json {
        ui.data(&as_json(&report).to_string())?;
    } else {
        for line in lines(&report) {
            ui.data(&line)?;
        }
    }
    ui.say(&format!(
        "{} ({}) and {} checked: {}",
        count(report.objects as usize, "object"),
        bytes(report.bytes),
        count(report.manifests as usize, "result"),
        if report.is_sound() { "all sound" } else { "damage was found; the next run makes anew what it needs" },
    ));
    Ok(if report.is_sound() { ExitCode::Ok } else { ExitCode::Corrupt })
}

fn lines(report: &VerifyReport) -> Vec<String> {
    let damaged = report
        .damaged_objects
        .iter()
        .map(|(object, path)| format!("damaged object {object}, now at {}", path.display()));
    let manifests = report
        .damaged_manifests
        .iter()
        .map(|(key, what, path)| format!("damaged result {}: {what}; now at {}", key.short(), path.display()));
    let missing = report
        .missing_objects
        .iter()
        .map(|(key, object)| format!("missing object {object}, needed by result {}", key.short()));
    let gone = report.missing_manifests.iter().map(|key| format!("missing result {key}"));
    damaged.chain(manifests).chain(missing).chain(gone).collect()
}

fn as_json(report: &VerifyReport) -> serde_json::Value {
    json!({
        "sound": report.is_sound(), "objects": report.objects, "bytes": report.bytes, "manifests": report.manifests,
        "damaged_objects": report.damaged_objects.iter()
            .map(|(object, path)| json!({ "object": object, "path": path })).collect::<Vec<_>>(),
        "damaged_manifests": report.damaged_manifests.iter()
            .map(|(key, what, path)| json!({ "key": key, "what": what, "path": path })).collect::<Vec<_>>(),
        "missing_objects": report.missing_objects.iter()
            .map(|(key, object)| json!({ "key": key, "object": object })).collect::<Vec<_>>(),
        "missing_manifests": report.missing_manifests,
    })
}
