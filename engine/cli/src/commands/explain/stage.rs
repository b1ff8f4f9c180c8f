use std::collections::BTreeMap;

use refit_cache::{Manifest, RunId, StepKey, Store, Tree};
use refit_engine::{
    explain::{self, Cause, Subject, View},
    plan::{Force, History, Reason, Step, StepState, sentence},
    run::{RunReport, RunSummary, StageReport, StageState},
};
use serde_json::{Value, json};

use super::nearest;
use crate::{
    args::PipelineArgs,
    commands::{
        open::{self, Planned},
        recall,
        runs::{RunRecord, state_name},
        selection::SelectionArgs,
    },
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, ago, bytes, duration},
};

/// All that is known of a stage.
struct Explained {
    subject: Subject,
    state: StepState,
    key: Option<StepKey>,
    reasons: Vec<Reason>,
    causes: Vec<Cause>,
    /// What is in the store, by port.
    outputs: BTreeMap<String, Tree>,
    /// The record of its result.
    made: Option<Manifest>,
    /// The record of its last one, where the result is not in the store.
    before: Option<Manifest>,
    last: Option<LastTime>,
}

/// The last time a run came to the stage.
struct LastTime {
    run: RunId,
    report: StageReport,
}

/// Shows all about one stage, without a lock and without changing anything.
pub(super) fn stage(
    name: &str,
    args: &PipelineArgs,
    as_json: bool,
    ui: Ui,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let explained = match Explained::recalled(name, args, environment)? {
        Some(explained) => explained,
        None => Explained::planned(name, args, ui, environment)?,
    };
    if as_json {
        ui.data(&explained.as_json().to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut parts = vec![explained.head(ui), explained.in_and_out()];
    parts.extend(explained.parameters());
    parts.push(explained.past());
    ui.data(&parts.join("\n\n"))?;
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

/// Of runs of the pipeline, the newest that came to the stage.
fn last_time(store: &Store, pipeline: &str, stage: &str) -> Result<Option<LastTime>, Failure> {
    for run in store.runs()? {
        if RunSummary::read(store, &run).pipeline.as_deref() != Some(pipeline) {
            continue;
        }
        let reached = |report: &StageReport| !matches!(report.state, StageState::Blocked | StageState::Skipped);
        if let Some(report) = RunReport::read_stage(&store.run_folder(&run), stage).filter(reached) {
            return Ok(Some(LastTime { run, report }));
        }
    }
    Ok(None)
}

impl Explained {
    /// The short way, where nothing has changed since the pipeline last ran.
    fn recalled(name: &str, args: &PipelineArgs, environment: &Environment) -> Result<Option<Self>, Failure> {
        let Some((store, recalled)) = recall::look(args, &SelectionArgs::default(), environment)? else {
            return Ok(None);
        };
        let Some(subject) = recalled.subject(&store, name) else { return Ok(None) };
        let key = recalled.stages().iter().find(|report| report.name == name).and_then(|report| report.key);
        let Some(made) = key.map(|key| store.manifest(&key)).transpose()?.flatten() else { return Ok(None) };
        let last = last_time(&store, recalled.pipeline(), name)?;
        Ok(Some(Self {
            subject,
            state: StepState::Cached,
            key,
            reasons: Vec::new(),
            causes: Vec::new(),
            outputs: made.outputs.clone(),
            made: Some(made),
            before: None,
            last,
        }))
    }

    fn planned(name: &str, args: &PipelineArgs, ui: Ui, environment: &Environment) -> Result<Self, Failure> {
        let pipeline = open::pipeline(args, ui)?;
        open::stage(&pipeline, name)?;
        let planned = open::planned(pipeline, &args.store, Force::Nothing, environment)?;
        let node = open::stage(&planned.pipeline, name)?;
        let step = planned.plan.step(&node.name).expect("a plan has a step for every stage");
        let Step { state, key, reasons, outputs, .. } = step.clone();
        let made = match &key {
            Some(key) if state == StepState::Cached => planned.store.manifest(key)?,
            _ => None,
        };
        let before =
            if made.is_some() { None } else { History::new(&planned.store, &planned.pipeline.name).last(&node.name) };
        let causes = if state == StepState::Cached { Vec::new() } else { causes(&planned, &node.name)? };
        let last = last_time(&planned.store, &planned.pipeline.name, &node.name)?;
        let subject = Subject::of(&planned.pipeline, &planned.sources, node, |input| planned.plan.content(input));
        Ok(Self { subject, state, key, reasons, causes, outputs, made, before, last })
    }

    fn head(&self, ui: Ui) -> String {
        let state = match (self.state, &self.made) {
            (StepState::Cached, Some(made)) => {
                format!("{}, made {}", ui.paint_data("cached", "32"), ago(made.created))
            }
            (StepState::Cached, None) => ui.paint_data("cached", "32"),
            (StepState::Run, _) => ui.paint_data("would run", "36"),
            (StepState::Blocked, _) => ui.paint_data("blocked", "33"),
        };
        let mut lines = vec![format!("{} ({}): {state}", self.subject.name, self.subject.kind)];
        lines.extend(self.subject.description.clone());
        if self.causes.is_empty() {
            lines.extend(self.reasons.iter().map(|reason| format!("  {reason}")));
        } else {
            lines.extend(nearest(&self.causes, ui).into_iter().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }

    fn in_and_out(&self) -> String {
        let mut table = Table::new();
        table.row(["inputs"]);
        for input in &self.subject.inputs {
            let digest = input.digest.map_or_else(|| "?".into(), |digest| digest.short());
            table.row([format!("  {}", input.port), format!("← {}", input.from), digest, input.place.clone()]);
        }
        table.row(["outputs"]);
        for (port, kind) in &self.subject.outputs {
            let tree = self.outputs.get(port);
            table.row([
                format!("  {port}"),
                kind.clone(),
                tree.map_or_else(|| "?".into(), |tree| tree.digest.short()),
                tree.map(|tree| bytes(tree.bytes)).unwrap_or_default(),
            ]);
        }
        table.text()
    }

    fn parameters(&self) -> Option<String> {
        let with = self.subject.with.as_object().filter(|with| !with.is_empty())?;
        let mut table = Table::new();
        table.row(["with"]);
        for (name, value) in with.iter().filter(|(_, value)| !value.is_null()) {
            table.row([format!("  {name}"), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)]);
        }
        Some(table.text())
    }

    fn past(&self) -> String {
        let mut table = Table::new();
        let key = self.key.map_or_else(|| "known once all inputs are".into(), |key| key.to_string());
        table.row(["key".to_owned(), key]);
        match self.made.as_ref().or(self.before.as_ref()) {
            Some(manifest) => past_result(&mut table, manifest, self.made.is_some()),
            None if self.last.is_none() => {
                table.row(["last run", "never"]);
            }
            None => {}
        }
        if let Some(LastTime { run, report }) = &self.last {
            let why = report.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let when = ago(run.began());
            table.row(["last run".to_owned(), format!("{run}, {when}, {}{why}", state_name(report.state))]);
            if let Some(error) = &report.error {
                table.row([String::new(), format!("{}: {}", error.code, error.message)]);
                table.row([String::new(), error.help.clone().unwrap_or_default()]);
                if let Some(log) = &report.log {
                    table.row([String::new(), format!("full log: {}", log.display())]);
                }
            }
        }
        table.text()
    }

    fn as_json(&self) -> Value {
        let subject = &self.subject;
        let inputs: serde_json::Map<_, _> = subject
            .inputs
            .iter()
            .map(|input| {
                (input.port.clone(), json!({ "from": input.from, "digest": input.digest, "place": input.place }))
            })
            .collect();
        let outputs: serde_json::Map<_, _> = self
            .outputs
            .iter()
            .map(|(port, tree)| (port.clone(), json!({ "digest": tree.digest, "bytes": tree.bytes })))
            .collect();
        json!({
            "name": subject.name, "kind": subject.kind, "state": self.state, "key": self.key,
            "reason": (!self.reasons.is_empty()).then(|| sentence(&self.reasons)), "reasons": self.reasons,
            "inputs": inputs, "with": subject.with, "outputs": outputs,
            "result": self.made.as_ref().or(self.before.as_ref()).map(|made| json!({
                "key": made.key, "run": made.run, "created": made.created, "seconds": made.seconds,
                "peak_memory": made.peak_memory, "facts": made.facts, "warnings": made.warnings,
            })),
            "last_run": self.last.as_ref().map(|last| json!({ "run": last.run, "stage": last.report })),
            "causes": self.causes,
        })
    }
}

/// Which run made a result, and what it said.
fn past_result(table: &mut Table, manifest: &Manifest, is_here: bool) {
    let whose = if is_here { "made by" } else { "last result" };
    let peak = match manifest.peak_memory {
        0 => String::new(),
        peak => format!(", peak {}", bytes(peak)),
    };
    let what = format!("run {}, {}, in {}{peak}", manifest.run, ago(manifest.created), duration(manifest.seconds));
    table.row([whose.to_owned(), what]);
    for (name, value) in &manifest.facts {
        table.row([String::new(), format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), Into::into))]);
    }
    for warning in &manifest.warnings {
        table.row([String::new(), format!("warning: {warning}")]);
    }
}
