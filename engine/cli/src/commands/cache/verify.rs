use clap::Args;
use refit_cache::{StoreError, VerifyReport, Wait};
use serde_json::json;

use super::lost::{LostEarlier, LostResult};
use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Bar, Ui, bytes, count},
};

/// Arguments of `cache verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache verify             works beside a run; exit code 6 when a result is lost
  refit cache verify --json      which results, and the commands that make them again")]
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
    // Reading everything takes long: no run has to wait for that.
    let mut report = {
        let bar = Bar::of_bytes(ui, "verifying");
        store.verify_files(&|verified| bar.advance(verified.done, verified.total))?
    };
    match store.lock("refit cache verify", Wait::Fail) {
        Ok(lock) => {
            store.verify_index(&lock, &mut report);
            lock.take_notices().iter().for_each(|notice| ui.note(notice));
        }
        // Beside a run, and on a disk that is read-only, only the index is left out.
        Err(
            error @ (StoreError::Locked { .. } | StoreError::ReadOnly { .. } | StoreError::PermissionDenied { .. }),
        ) => ui.note(&format!("the index is not checked: {error}")),
        Err(error) => return Err(error.into()),
    }
    let lost = LostResult::find(&store, &report)?;
    let lost_earlier = LostEarlier::find(&store, &report)?;
    if args.json {
        ui.data(&as_json(&report, &lost, &lost_earlier).to_string())?;
    } else {
        let lost = lost.iter().map(LostResult::line).chain(lost_earlier.iter().map(LostEarlier::line));
        for line in lines(&report).into_iter().chain(lost) {
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
    if !report.damaged_leftovers.is_empty() {
        let leftovers = count(report.damaged_leftovers.len(), "damaged object");
        ui.say(&format!("{leftovers} of no result moved aside: a loss of power leaves such"));
    }
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

fn as_json(report: &VerifyReport, lost: &[LostResult], lost_earlier: &[LostEarlier]) -> serde_json::Value {
    json!({
        "sound": report.is_sound(), "objects": report.objects, "bytes": report.bytes, "manifests": report.manifests,
        "damaged_objects": report.damaged_objects.iter()
            .map(|(object, path)| json!({ "object": object, "path": path })).collect::<Vec<_>>(),
        "damaged_manifests": report.damaged_manifests.iter()
            .map(|(key, what, path)| json!({ "key": key, "what": what, "path": path })).collect::<Vec<_>>(),
        "missing_objects": report.missing_objects.iter()
            .map(|(key, object)| json!({ "key": key, "object": object })).collect::<Vec<_>>(),
        "missing_manifests": report.missing_manifests,
        "damaged_leftovers": report.damaged_leftovers.iter()
            .map(|(object, path)| json!({ "object": object, "path": path })).collect::<Vec<_>>(),
        "lost": lost,
        "lost_earlier": lost_earlier,
    })
}
