use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use refit_cache::{Digest, Store};
use refit_engine::{graph::split_output, plan::excerpts, run::find_run};
use serde_json::{Value, json};

use super::{
    RunRecord,
    condition::plain,
    sheet::{FormatArgs, Sheet},
    state_name,
};
use crate::{
    args::StoreOfArgs,
    commands::{open, scores::Scores},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, duration, score},
};

/// Arguments of `runs diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// One run: `latest`, a name, or the beginning of an id.
    a: String,
    /// The other.
    b: String,
    #[command(flatten)]
    store: StoreOfArgs,
    #[command(flatten)]
    format: FormatArgs,
}

const SCORES: &str = "scores";

/// What is compared of a run, each by a name.
struct Side {
    record: RunRecord,
    /// `stage.path` → value, with `uses` and the wiring among them.
    parameters: BTreeMap<String, Value>,
    /// `stage.port` → what was read there.
    inputs: BTreeMap<String, Digest>,
    /// `stage.port` → what came out there.
    outputs: BTreeMap<String, Digest>,
    /// `stage.metric` → value.
    scores: BTreeMap<String, Value>,
    /// `stage` → what became of it.
    stages: BTreeMap<String, String>,
}

/// A value that differs: its name, in A, in B; none where there is no such thing.
type Differences = Vec<(String, Option<Value>, Option<Value>)>;

/// Compares two runs.
pub(super) fn diff(args: &DiffArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let side = |text: &str| Ok::<_, Failure>(Side::read(&store, RunRecord::read(&store, &find_run(&store, text)?)?));
    let (a, b) = (side(&args.a)?, side(&args.b)?);
    let short = |inputs: &BTreeMap<String, Digest>| -> BTreeMap<String, Value> {
        let shown = |digest: &Digest| if args.format.json { json!(digest) } else { json!(digest.short()) };
        inputs.iter().map(|(port, digest)| (port.clone(), shown(digest))).collect()
    };
    let parameters = differences(&a.parameters, &b.parameters);
    let mut inputs = differences(&short(&a.inputs), &short(&b.inputs));
    // What a stage without a result read is not on record.
    inputs.retain(|(port, ..)| a.read_by_stage_of(port) && b.read_by_stage_of(port));
    let outputs = differences(&short(&a.outputs), &short(&b.outputs));
    if args.format.json {
        let compared = json!({
            "a": a.record.id, "b": b.record.id,
            "parameters": as_json(&parameters),
            "inputs": as_json(&inputs),
            "outputs": as_json(&outputs),
            "scores": as_json(&together(&a.scores, &b.scores)),
        });
        ui.data(&compared.to_string())?;
        return Ok(ExitCode::Ok);
    }
    if args.format.wants_sheet() {
        let mut sheet = Sheet::new(["what", "name", a.record.id.as_str(), b.record.id.as_str()]);
        let scores = together(&a.scores, &b.scores);
        for (what, rows) in [("parameter", &parameters), ("input", &inputs), ("output", &outputs), ("score", &scores)] {
            for (name, a, b) in rows {
                let cell = |value: &Option<Value>| value.as_ref().map(plain).unwrap_or_default();
                sheet.row([what.to_owned(), name.clone(), cell(a), cell(b)]);
            }
        }
        sheet.print(args.format, ui)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    table.row(["", a.record.id.as_str(), b.record.id.as_str(), ""]);
    let time = |side: &Side| side.record.report.as_ref().map(|report| duration(report.seconds)).unwrap_or_default();
    table.row(["status", a.record.status(), b.record.status(), ""]);
    table.row(["time".to_owned(), time(&a), time(&b), String::new()]);
    let rounded = |value: &Value| value.as_f64().map_or_else(|| plain(value), score);
    section(&mut table, "parameters", &parameters, cells);
    section(&mut table, "inputs", &inputs, each(plain));
    section(&mut table, "outputs", &outputs, each(plain));
    let states = |side: &Side| side.stages.iter().map(|(name, state)| (name.clone(), json!(state))).collect();
    section(&mut table, "stages", &differences(&states(&a), &states(&b)), each(plain));
    section(&mut table, SCORES, &together(&a.scores, &b.scores), each(rounded));
    ui.data(&table.text())?;
    if parameters.is_empty() && inputs.is_empty() {
        ui.say("parameters and inputs are the same");
    }
    Ok(ExitCode::Ok)
}

impl Side {
    fn read(store: &Store, record: RunRecord) -> Self {
        let mut parameters = BTreeMap::new();
        for (stage, planned) in record.plan.iter().flat_map(|plan| &plan.stages) {
            leaves(stage, planned, &mut parameters);
        }
        let mut inputs = BTreeMap::new();
        for stage in record.stages() {
            let manifest = stage.key.as_ref().and_then(|key| store.manifest(key).ok().flatten());
            for (port, digest) in manifest.into_iter().flat_map(|manifest| manifest.inputs) {
                inputs.insert(format!("{}.{port}", stage.name), digest);
            }
        }
        let mut scores = BTreeMap::new();
        for scored in Scores::of(record.stages()) {
            for (metric, value) in scored.metrics {
                scores.insert(format!("{}.{metric}", scored.stage), value);
            }
            scores.extend(scored.verdict.map(|verdict| (format!("{}.verdict", scored.stage), json!(verdict))));
        }
        let states = record.stages().iter().map(|stage| (stage.name.clone(), state_name(stage.state).to_owned()));
        let stages = states.collect();
        let mut outputs = BTreeMap::new();
        for stage in record.stages() {
            outputs.extend(stage.outputs.iter().map(|(port, made)| (format!("{}.{port}", stage.name), made.digest)));
        }
        Self { record, parameters, inputs, outputs, scores, stages }
    }

    /// Whether anything is on record of what the stage of `stage.port` read.
    fn read_by_stage_of(&self, port: &str) -> bool {
        let stage = |name: &str| split_output(name).map(|(stage, _)| stage.to_owned());
        self.inputs.keys().any(|known| stage(known) == stage(port))
    }
}

/// The leaves of what a stage was planned with; `with` itself is no part of the names.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if key == "with" { path.to_owned() } else { format!("{path}.{key}") };
                leaves(&path, value, found);
            }
        }
        Value::Null => {}
        leaf => {
            found.insert(path.to_owned(), leaf.clone());
        }
    }
}

fn together(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Differences {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().map(|name| (name.clone(), a.get(name).cloned(), b.get(name).cloned())).collect()
}

fn differences(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Differences {
    together(a, b).into_iter().filter(|(_, a, b)| a != b).collect()
}

/// Each side of a difference for itself.
fn each(shown: impl Fn(&Value) -> String) -> impl Fn(Option<&Value>, Option<&Value>) -> [String; 2] {
    move |a, b| [a, b].map(|value| value.map_or_else(|| "–".into(), &shown))
}

/// Parameters: what is long or of several lines is shown where it differs.
fn cells(a: Option<&Value>, b: Option<&Value>) -> [String; 2] {
    const WIDEST: usize = 60;
    let shown = each(plain)(a, b);
    let is_plain = |text: &String| !text.contains('\n') && text.chars().count() <= WIDEST;
    if shown.iter().all(is_plain) { shown } else { excerpts(a, b) }
}

/// Rows under a title; of scores, how much they changed stands behind.
fn section(
    table: &mut Table,
    title: &str,
    rows: &Differences,
    shown: impl Fn(Option<&Value>, Option<&Value>) -> [String; 2],
) {
    let changes = title == SCORES;
    if rows.is_empty() {
        return;
    }
    table.row([""]).row([title]);
    for (name, a, b) in rows {
        let change = if changes { change(a.as_ref(), b.as_ref()) } else { String::new() };
        let [a, b] = shown(a.as_ref(), b.as_ref());
        table.row([format!("  {name}"), a, b, change]);
    }
}

/// `+0.1234` of two numbers that differ.
fn change(a: Option<&Value>, b: Option<&Value>) -> String {
    let numbers = a.and_then(Value::as_f64).zip(b.and_then(Value::as_f64));
    let change = numbers.map(|(a, b)| b - a).filter(|change| change.abs() > 0.0);
    change.map(|change| format!("{}{}", if change > 0.0 { "+" } else { "" }, score(change))).unwrap_or_default()
}

fn as_json(rows: &Differences) -> Value {
    rows.iter().map(|(name, a, b)| (name.clone(), json!({ "a": a, "b": b }))).collect::<serde_json::Map<_, _>>().into()
}
