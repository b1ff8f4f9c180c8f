use refit_cache::{Digest, Manifest};
use refit_engine::{
    explain::{self, Cause, View},
    graph::{InputRef, Pipeline, StageNode},
    plan::{Force, History, Step, StepState, sentence},
    run::{StageReport, StageState},
};
use serde_json::{Value, json};

use super::nearest;
use crate::{
    args::StoreArgs,
    commands::{
        open::{self, Planned},
        runs::{RunRecord, state_name},
    },
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, ago, bytes, count, duration},
};

/// One input of the stage, as far as it is known before anything runs.
struct Input {
    port: String,
    from: String,
    digest: Option<Digest>,
    /// Where a source lies, or what makes the input.
    place: String,
}

/// The last time a run came to the stage.
struct LastTime {
    record: RunRecord,
    report: StageReport,
}

/// Shows all about one stage, without a lock and without changing anything.
pub(super) fn stage(
    name: &str,
    pipeline: Pipeline,
    store: &StoreArgs,
    as_json: bool,
    ui: Ui,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let planned = open::planned(pipeline, store, Force::Nothing, environment)?;
    let node = open::stage(&planned.pipeline, name)?;
    let Some(step) = planned.plan.steps.iter().find(|step| step.stage == node.name) else { return Ok(ExitCode::Ok) };
    let inputs = inputs(&planned, node);
    let made = match &step.key {
        Some(key) if step.state == StepState::Cached => planned.store.manifest(key)?,
        _ => None,
    };
    let before = History::new(&planned.store, &planned.pipeline.name).last(&node.name);
    let last = last_time(&planned, &node.name)?;
    let causes = if step.state == StepState::Cached { Vec::new() } else { causes(&planned, &node.name)? };
    if as_json {
        let mut told = told(node, step, &inputs, made.as_ref().or(before.as_ref()), last.as_ref());
        told["causes"] = json!(causes);
        ui.data(&told.to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut explained = vec![head(node, step, &causes, made.as_ref(), ui), in_and_out(&inputs, step, node)];
    explained.extend(parameters(node));
    explained.push(past(step, made.as_ref(), before.as_ref(), last.as_ref()));
    ui.data(&explained.join("\n\n"))?;
    Ok(ExitCode::Ok)
}

/// Why the stage must run, held against the last run that came through it; nothing when there is none.
fn causes(planned: &Planned, name: &str) -> Result<Vec<Cause>, Failure> {
    for record in RunRecord::all(&planned.store)? {
        let record = record?;
        if record.pipeline() != Some(&planned.pipeline.name) {
            continue;
        }
        let finished =
            |report: &StageReport| report.name == name && matches!(report.state, StageState::Ran | StageState::Cached);
        if let (Some(plan), Some(report)) = (&record.plan, &record.report)
            && report.stages.iter().any(finished)
        {
            let old = View::of_run(&planned.store, plan, report);
            let now = View::now(&planned.pipeline, &planned.sources, &planned.plan);
            return Ok(explain::causes(name, &old, &now, &planned.store, |source| planned.sources.path(source)));
        }
    }
    Ok(Vec::new())
}

fn inputs(planned: &Planned, node: &StageNode) -> Vec<Input> {
    let inputs = node.inputs.iter().map(|(port, from)| {
        let (digest, place) = match from {
            InputRef::Source(name) => {
                let source = planned.pipeline.sources.get(name);
                let uri = source.map(|source| source.uri.to_string()).unwrap_or_default();
                let here = planned.sources.path(name).is_some();
                (planned.sources.digest(name), if here { uri } else { format!("{uri} (not fetched yet)") })
            }
            InputRef::Output { .. } | InputRef::Many { .. } => {
                let digest = planned.plan.content(from);
                let place = match (digest, from) {
                    (Some(_), InputRef::Many { parts, .. }) => format!("{} in the store", count(parts.len(), "output")),
                    (Some(_), _) => "in the store".to_owned(),
                    (None, InputRef::Many { .. }) => "known once these stages have run".to_owned(),
                    (None, _) => "known once that stage has run".to_owned(),
                };
                (digest, place)
            }
        };
        Input { port: port.clone(), from: from.to_string(), digest, place }
    });
    inputs.collect()
}

fn last_time(planned: &Planned, stage: &str) -> Result<Option<LastTime>, Failure> {
    for record in RunRecord::all(&planned.store)? {
        let record = record?;
        if record.pipeline() != Some(&planned.pipeline.name) {
            continue;
        }
        let reached = |report: &&StageReport| {
            report.name == stage && !matches!(report.state, StageState::Blocked | StageState::Skipped)
        };
        if let Some(report) = record.stages().iter().find(reached).cloned() {
            return Ok(Some(LastTime { record, report }));
        }
    }
    Ok(None)
}

fn head(node: &StageNode, step: &Step, causes: &[Cause], made: Option<&Manifest>, ui: Ui) -> String {
    let state = match (step.state, made) {
        (StepState::Cached, Some(made)) => format!("{}, made {}", ui.paint_data("cached", "32"), ago(made.created)),
        (StepState::Cached, None) => ui.paint_data("cached", "32"),
        (StepState::Run, _) => ui.paint_data("would run", "36"),
        (StepState::Blocked, _) => ui.paint_data("blocked", "33"),
    };
    let mut lines = vec![format!("{} ({}): {state}", node.name, node.kind.name)];
    lines.extend(node.description.clone());
    if causes.is_empty() {
        lines.extend(step.reasons.iter().map(|reason| format!("  {reason}")));
    } else {
        lines.extend(nearest(causes, ui).into_iter().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

fn in_and_out(inputs: &[Input], step: &Step, node: &StageNode) -> String {
    let mut table = Table::new();
    table.row(["inputs"]);
    for input in inputs {
        let digest = input.digest.map_or_else(|| "?".into(), |digest| digest.short());
        table.row([format!("  {}", input.port), format!("← {}", input.from), digest, input.place.clone()]);
    }
    table.row(["outputs"]);
    for port in &node.outputs {
        let tree = step.outputs.get(port.name.as_ref());
        table.row([
            format!("  {}", port.name),
            port.kind.name().to_owned(),
            tree.map_or_else(|| "?".into(), |tree| tree.digest.short()),
            tree.map(|tree| bytes(tree.bytes)).unwrap_or_default(),
        ]);
    }
    table.text()
}

fn parameters(node: &StageNode) -> Option<String> {
    let with = node.with.as_object().filter(|with| !with.is_empty())?;
    let mut table = Table::new();
    table.row(["with"]);
    for (name, value) in with.iter().filter(|(_, value)| !value.is_null()) {
        table.row([format!("  {name}"), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)]);
    }
    Some(table.text())
}

fn past(step: &Step, made: Option<&Manifest>, before: Option<&Manifest>, last: Option<&LastTime>) -> String {
    let mut table = Table::new();
    table.row(["key".to_owned(), step.key.map_or_else(|| "known once all inputs are".into(), |key| key.to_string())]);
    let Some(manifest) = made.or(before) else {
        if last.is_none() {
            table.row(["last run", "never"]);
        }
        return with_last_time(table, last);
    };
    let whose = if made.is_some() { "made by" } else { "last result" };
    table.row([
        whose.to_owned(),
        format!(
            "run {}, {}, in {}, peak {}",
            manifest.run,
            ago(manifest.created),
            duration(manifest.seconds),
            bytes(manifest.peak_memory)
        ),
    ]);
    for (name, value) in &manifest.facts {
        table.row([String::new(), format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), Into::into))]);
    }
    for warning in &manifest.warnings {
        table.row([String::new(), format!("warning: {warning}")]);
    }
    with_last_time(table, last)
}

fn with_last_time(mut table: Table, last: Option<&LastTime>) -> String {
    if let Some(LastTime { record, report }) = last {
        let why = report.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let when = ago(record.id.began());
        table.row(["last run".to_owned(), format!("{}, {when}, {}{why}", record.id, state_name(report.state))]);
        if let Some(error) = &report.error {
            table.row([String::new(), format!("{}: {}", error.code, error.message)]);
            table.row([String::new(), error.help.clone().unwrap_or_default()]);
        }
    }
    table.text()
}

fn told(node: &StageNode, step: &Step, inputs: &[Input], result: Option<&Manifest>, last: Option<&LastTime>) -> Value {
    let inputs: serde_json::Map<_, _> = inputs
        .iter()
        .map(|input| (input.port.clone(), json!({ "from": input.from, "digest": input.digest, "place": input.place })))
        .collect();
    let outputs: serde_json::Map<_, _> = step
        .outputs
        .iter()
        .map(|(port, tree)| (port.clone(), json!({ "digest": tree.digest, "bytes": tree.bytes })))
        .collect();
    json!({
        "name": node.name, "kind": node.kind.name, "state": step.state, "key": step.key,
        "reason": (!step.reasons.is_empty()).then(|| sentence(&step.reasons)), "reasons": step.reasons,
        "inputs": inputs, "with": node.with, "outputs": outputs,
        "result": result.map(|made| json!({
            "key": made.key, "run": made.run, "created": made.created, "seconds": made.seconds,
            "peak_memory": made.peak_memory, "facts": made.facts, "warnings": made.warnings,
        })),
        "last_run": last.map(|last| json!({ "run": last.record.id, "stage": last.report })),
    })
}
