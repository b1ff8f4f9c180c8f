use std::path::{Path, PathBuf};

use clap::Args;
use miette::miette;
use refit_cache::Store;
use refit_engine::{
    run::{RunPlan, StageReport, find_run},
    spec::{Override, written},
};
use serde_json::{Value, json};

use super::{
    Row, RunRecord,
    condition::plain,
    row::FACTS,
    sheet::{FormatArgs, Sheet},
    state_name,
};
use crate::{
    args::StoreOfArgs,
    commands::{
        open,
        scores::{self, Scores},
    },
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, ago, bytes, duration, local_time},
};

/// Arguments of `runs show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run: `latest`, a name, or the beginning of an id.
    run: String,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print the run's pipeline file, with its overrides written into it.
    #[arg(long, conflicts_with_all = ["json", "csv", "md"])]
    pipeline: bool,
    /// Print a file that the run's pipeline imports, as it was then.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv", "md", "pipeline"])]
    import: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Shows one run.
pub(super) fn show(args: &ShowArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let record = RunRecord::read(&store, &find_run(&store, &args.run)?)?;
    let imports = RunPlan::imports(&store.run_folder(&record.id));
    if args.pipeline {
        ui.data(pipeline_text(&store, &record)?.trim_end())?;
        for (path, _) in &imports {
            ui.say(&format!("it imports {0}: `--import {0}` prints it as it was", path.display()));
        }
        return Ok(ExitCode::Ok);
    }
    if let Some(import) = &args.import {
        ui.data(import_text(import, &imports, &record)?.trim_end())?;
        return Ok(ExitCode::Ok);
    }
    let scores = Scores::of(record.stages());
    let folder = store.run_folder(&record.id);
    if args.format.json {
        let scores: Vec<Value> = scores.iter().map(Scores::as_json).collect();
        let shown = json!({
            "run": record.id, "name": record.labels.name, "tags": record.labels.tags, "status": record.status(), "folder": folder, "plan": record.plan,
            "report": record.report, "scores": scores,
        });
        ui.data(&shown.to_string())?;
        return Ok(ExitCode::Ok);
    }
    if args.format.wants_sheet() {
        sheet(&Row::one(&store, &record.id)?, record.stages()).print(args.format, ui)?;
        return Ok(ExitCode::Ok);
    }
    let mut head = Table::new();
    let began = record.id.began();
    head.row(["run", record.id.as_str()]);
    if let Some(name) = &record.labels.name {
        head.row(["name", name]);
    }
    if !record.labels.tags.is_empty() {
        head.row(["tags".to_owned(), record.labels.tags.iter().cloned().collect::<Vec<_>>().join(" ")]);
    }
    head.row(["pipeline", record.pipeline().unwrap_or("?")]);
    head.row(["status", record.status()]);
    head.row(["began".to_owned(), format!("{} ({})", local_time(began), ago(began))]);
    if let Some(report) = &record.report {
        head.row(["took".to_owned(), duration(report.seconds)]);
        for (to, from) in &report.exported {
            head.row(["copied".to_owned(), format!("{to} ← {from}")]);
        }
    }
    if let Some(plan) = &record.plan {
        head.row(["file".to_owned(), plan.file.display().to_string()]);
        for text in &plan.overrides {
            head.row(["with".to_owned(), format!("-S {text}")]);
        }
    }
    head.row(["record".to_owned(), folder.display().to_string()]);
    ui.data(&head.text())?;
    if !record.stages().is_empty() {
        ui.data("")?;
        ui.data(&stages(record.stages()).text())?;
    }
    for stage in record.stages() {
        for line in remarks(stage, ui) {
            ui.data(&line)?;
        }
    }
    if !scores.is_empty() {
        ui.data("")?;
        ui.data(&scores::table(&scores, ui.data_width()).join("\n"))?;
    }
    Ok(ExitCode::Ok)
}

/// All that is on record of a run, a value a line.
fn sheet(row: &Row<'_>, stages: &[StageReport]) -> Sheet {
    let mut sheet = Sheet::new(["what", "name", "value"]);
    let facts = FACTS.iter().filter(|name| **name != "stages");
    for (name, value) in facts.filter_map(|name| Some((name, row.value(name)?))) {
        sheet.row(["fact", name, plain(&value).as_str()]);
    }
    for stage in stages {
        sheet.row(["state", stage.name.as_str(), state_name(stage.state)]);
        for (what, number) in [("seconds", stage.seconds), ("memory", stage.peak_memory.map(|bytes| bytes as f64))] {
            if let Some(number) = number {
                sheet.row([what, stage.name.as_str(), number.to_string().as_str()]);
            }
        }
    }
    let parameters = row.parameters().iter().map(|(name, value)| ("parameter", name, value));
    for (what, name, value) in parameters.chain(row.summary.scores.iter().map(|(name, value)| ("score", name, value))) {
        sheet.row([what, name.as_str(), plain(value).as_str()]);
    }
    sheet
}

/// The file that the run would be made from without overrides.
fn pipeline_text(store: &Store, record: &RunRecord) -> Result<String, Failure> {
    let text = RunPlan::text(&store.run_folder(&record.id)).map_err(|error| Failure {
        code: ExitCode::Engine,
        report: miette!(
            code = "runs::no_pipeline",
            help = "an older refit wrote the record, or it is damaged",
            "the record of run {} does not hold its pipeline: {error}",
            record.id
        ),
    })?;
    let given = record.plan.iter().flat_map(|plan| &plan.overrides);
    let overrides = given.map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(written(&text, &overrides))
}

fn import_text<'i>(import: &Path, imports: &'i [(PathBuf, String)], record: &RunRecord) -> Result<&'i str, Failure> {
    let found = imports.iter().find(|(path, _)| path == import);
    found.map(|(_, text)| text.as_str()).ok_or_else(|| {
        let known: Vec<String> = imports.iter().map(|(path, _)| path.display().to_string()).collect();
        let help =
            if known.is_empty() { "it imports none".to_owned() } else { format!("it imports {}", known.join(", ")) };
        Failure::usage(miette!(
            code = "runs::unknown_import",
            help = help,
            "the pipeline of run {} imports no `{}`",
            record.id,
            import.display()
        ))
    })
}

fn stages(stages: &[StageReport]) -> Table {
    let mut table = Table::new();
    table.row(["stage", "state", "time", "memory", "why"]);
    for stage in stages {
        table.row([
            stage.name.clone(),
            state_name(stage.state).to_owned(),
            stage.seconds.map(duration).unwrap_or_default(),
            stage.peak_memory.filter(|peak| *peak > 0).map(bytes).unwrap_or_default(),
            stage.reason.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// Warnings, facts and errors of a stage, one a line.
fn remarks(stage: &StageReport, ui: Ui) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = &stage.error {
        lines.push(format!("{}: {} {}", stage.name, ui.paint_data(&error.code, "31"), error.message));
        lines.extend(error.causes.iter().map(|cause| format!("  {cause}")));
    }
    lines
        .extend(stage.warnings.iter().map(|text| format!("{}: {} {text}", stage.name, ui.paint_data("warning", "33"))));
    if ui.is_verbose() {
        lines.extend(stage.facts.iter().map(|(name, value)| format!("{}: {name} = {value}", stage.name)));
    }
    lines
}
