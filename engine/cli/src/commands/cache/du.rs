use clap::Args;
use serde_json::json;

use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, bytes},
};

/// Arguments of `cache du`.
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows what the store takes on disk.
pub(super) fn du(args: &DuArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let usage = store.usage()?;
    if args.json {
        let usage = json!({
            "store": store.root(), "total_bytes": usage.total_bytes(),
            "objects": usage.objects, "object_bytes": usage.object_bytes,
            "manifests": usage.manifests, "manifest_bytes": usage.manifest_bytes,
            "runs": usage.runs, "run_bytes": usage.run_bytes,
            "index_bytes": usage.index_bytes, "scratch_bytes": usage.scratch_bytes,
            "quarantined": usage.quarantined, "quarantine_bytes": usage.quarantine_bytes,
        });
        ui.data(&usage.to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    let mut row = |what: &str, number: Option<u64>, size: u64| {
        table.row([what.to_owned(), number.map(|number| number.to_string()).unwrap_or_default(), bytes(size)]);
    };
    row("objects", Some(usage.objects), usage.object_bytes);
    row("results", Some(usage.manifests), usage.manifest_bytes);
    row("runs", Some(usage.runs), usage.run_bytes);
    row("index", None, usage.index_bytes);
    row("steps under way or killed", None, usage.scratch_bytes);
    row("damaged, set aside", Some(usage.quarantined), usage.quarantine_bytes);
    row("all", None, usage.total_bytes());
    ui.say(&store.root().display().to_string());
    ui.data(&table.text())?;
    Ok(ExitCode::Ok)
}
