use clap::Args;
use refit_cache::Store;
use serde_json::{Value, json};

use super::RunRecord;
use crate::{
    args::StoreOfArgs,
    commands::{open, scores::Scores},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, count, duration, local_time},
};

/// Arguments of `runs ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Only runs of the pipeline of that name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// At most so many.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Lists runs, newest first.
pub(super) fn ls(args: &LsArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let mut shown = Vec::new();
    let mut more = 0;
    for record in RunRecord::all(&store)? {
        let record = record?;
        if args.name.is_some() && record.pipeline() != args.name.as_deref() {
            continue;
        }
        if shown.len() < args.limit { shown.push(record) } else { more += 1 }
    }
    if args.json {
        let runs: Vec<Value> = shown.iter().map(|record| as_json(&store, record)).collect();
        ui.data(&json!({ "runs": runs, "more": more }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    table.row(["run", "when", "pipeline", "status", "stages", "time", "scores"]);
    for record in &shown {
        let scores = Scores::of(&store, record.stages());
        table.row([
            record.id.to_string(),
            local_time(record.id.began()),
            record.pipeline().unwrap_or("?").to_owned(),
            ui.paint_data(record.status(), color(record.status())),
            record.counts(),
            record.report.as_ref().map(|report| duration(report.seconds)).unwrap_or_default(),
            // The last ones are what the pipeline is for.
            scores.iter().rev().take(2).rev().filter_map(Scores::brief).collect::<Vec<_>>().join(" · "),
        ]);
    }
    if shown.is_empty() {
        ui.say("no runs");
    } else {
        ui.data(&table.text())?;
    }
    if more > 0 {
        ui.say(&format!("{} more; show them with `-n`", count(more, "run")));
    }
    Ok(ExitCode::Ok)
}

fn color(status: &str) -> &'static str {
    match status {
        "ok" => "32",
        "running" => "36",
        "interrupted" => "33",
        _ => "31",
    }
}

fn as_json(store: &Store, record: &RunRecord) -> Value {
    let mut counts = serde_json::Map::new();
    for stage in record.stages() {
        let count = counts.entry(super::state_name(stage.state)).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
    }
    let scores: Vec<Value> = Scores::of(store, record.stages()).iter().map(Scores::as_json).collect();
    json!({
        "run": record.id,
        "began": record.id.began(),
        "pipeline": record.pipeline(),
        "status": record.status(),
        "stages": counts,
        "seconds": record.report.as_ref().map(|report| report.seconds),
        "overrides": record.plan.as_ref().map(|plan| &plan.overrides),
        "scores": scores,
    })
}
