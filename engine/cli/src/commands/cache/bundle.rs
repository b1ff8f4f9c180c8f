use std::{io, path::PathBuf};

use clap::Args;
use refit_cache::{Bundled, Store, UsedResult, Verified, Wait};
use serde_json::json;

use super::target::Target;
use crate::{
    args::{PipelineArgs, StoreOfArgs},
    commands::{open, runs::RunRecord},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Bar, Ui, bytes, count},
};

/// Arguments of `cache export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache export 4f2 --to run.refit            a run: its record and all its results
  refit cache export latest --to run.refit         the newest
  refit cache export train.adapter --to adapter.refit
                                                   a result, and all that it was made from
  refit cache import run.refit                     on the other machine: `refit run` then goes on from there

The file is a plain tar; `zstd run.refit` makes it smaller, `zstd -dc run.refit.zst | refit cache import -` reads it.")]
pub(crate) struct ExportArgs {
    /// What to export: a run, by its name, `latest` or any beginning of its id, or a stage's result with all that it was
    /// made from.
    #[arg(value_name = "RUN|STAGE[.PORT]")]
    what: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The file to write.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `cache import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache import run.refit
  refit cache import run.refit --of pipelines/helpdesk
  zstd -dc run.refit.zst | refit cache import -

Every byte is checked before anything can be found; a file that is damaged changes no result.")]
pub(crate) struct ImportArgs {
    /// What `cache export` wrote; `-` reads standard input.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from: PathBuf,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Writes a run or a result into one file.
pub(super) fn export(args: &ExportArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let (store, target) = Target::find(&args.what, &args.pipeline, ui, environment)?;
    let written = {
        let bar = Bar::of_bytes(ui, "exporting");
        let watch = |written: Verified| bar.advance(written.done, written.total);
        match &target {
            Target::Run(run) => store.export_run(run, &args.to, &watch)?,
            Target::Result { closure, .. } => store.export_results(closure, &args.to, &watch)?,
        }
    };
    let Bundled { results, objects, bytes: size, left_out } = &written;
    if !left_out.is_empty() {
        let gone = count(left_out.len(), "result");
        let named = match &target {
            Target::Run(run) => stages_of(left_out, &RunRecord::read(&store, run)?),
            Target::Result { .. } => String::new(),
        };
        ui.note(&format!("{gone} of the run went with `refit cache gc` or damage, and cannot be exported{named}"));
    }
    if args.json {
        let done =
            json!({ "file": args.to, "results": results, "objects": objects, "bytes": size, "left_out": left_out });
        ui.data(&done.to_string())?;
    } else {
        let results = count(*results as usize, "result");
        ui.say(&format!("{} ← {results}, {}, {}", args.to.display(), count(*objects as usize, "object"), bytes(*size)));
    }
    Ok(ExitCode::Ok)
}

/// `: clean, train`, the stages whose results these are.
fn stages_of(results: &[UsedResult], record: &RunRecord) -> String {
    let stages = record.stages().iter().filter(|stage| stage.used().is_some_and(|used| results.contains(&used)));
    let names: Vec<&str> = stages.map(|stage| stage.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// Takes in what `cache export` wrote.
pub(super) fn import(args: &ImportArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    // The file first: nothing is made for one that is not there.
    let file = if args.from.as_os_str() == "-" { None } else { Some(fs_err::File::open(&args.from)?) };
    let store = Store::open(&open::root_of(&args.store, environment)?)?;
    let lock = store.lock("refit cache import", Wait::Block(&mut |holder| ui.say(&format!("waiting for {holder}"))))?;
    let imported = {
        let bar = Bar::of_bytes(ui, "importing");
        let watch = |read: Verified| bar.advance(read.done, read.total);
        match file {
            Some(file) => store.import(&lock, io::BufReader::with_capacity(1 << 20, file), &args.from, &watch)?,
            None => store.import(&lock, io::stdin().lock(), &PathBuf::from("standard input"), &watch)?,
        }
    };
    if args.json {
        let done = json!({
            "run": imported.run, "run_was_there": imported.run_was_there, "results": imported.results,
            "new_results": imported.new_results, "objects": imported.objects, "bytes": imported.bytes,
        });
        ui.data(&done.to_string())?;
        return Ok(ExitCode::Ok);
    }
    let results = count(imported.results as usize, "result");
    let run = match (&imported.run, imported.run_was_there) {
        (Some(run), false) => format!(" of run {run}"),
        (Some(run), true) => format!(" of run {run}, which was on record already"),
        (None, _) => String::new(),
    };
    ui.say(&format!("imported {results} ({} new), {}{run}", imported.new_results, bytes(imported.bytes)));
    Ok(ExitCode::Ok)
}
