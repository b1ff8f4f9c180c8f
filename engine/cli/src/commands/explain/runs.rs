use std::collections::BTreeSet;

use miette::miette;
use refit_cache::{StepKey, Store};
use refit_engine::{
    explain::{self, Cause, Detail, View},
    plan::Reason,
    run::find_run,
};
use serde_json::json;

use super::nearest;
use crate::{
    args::{StoreArgs, StoreOfArgs},
    commands::{open, runs::RunRecord},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// A run, and what it was.
struct Side {
    record: RunRecord,
    view: View,
}

/// A stage that is not the same in both runs, and why.
struct Different {
    stage: String,
    causes: Vec<Cause>,
    /// `input records (clean.records): 3 rows added`.
    inputs: Vec<String>,
}

/// Shows why two runs, or one stage in them, are not the same.
pub(super) fn runs(
    (a, b, stage): (&str, &str, Option<&str>),
    store: &StoreArgs,
    as_json: bool,
    ui: Ui,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let store = open::store_of(&StoreOfArgs { of: ".".into(), store: store.clone() }, environment)?;
    let (a, b) = (Side::read(&store, a)?, Side::read(&store, b)?);
    if let Some(stage) = stage {
        known(stage, &a, &b)?;
    }
    let keys = |side: &Side, name: &str| -> Option<StepKey> {
        side.record.stages().iter().find(|report| report.name == name)?.key
    };
    let names: Vec<&String> = {
        let mut seen = BTreeSet::new();
        let all = b.record.stages().iter().chain(a.record.stages()).map(|report| &report.name);
        all.filter(|name| seen.insert(*name)).collect()
    };
    let wanted = names.iter().filter(|name| stage.is_none_or(|stage| stage == name.as_str()));
    let different: Vec<Different> = wanted
        .filter(|name| keys(&a, name).is_none() || keys(&a, name) != keys(&b, name))
        .map(|name| Different {
            stage: (*name).clone(),
            causes: explain::causes(name, &a.view, &b.view, &store, |_| None),
            inputs: changed_inputs(&store, name, &a, &b),
        })
        .filter(|different| !different.causes.is_empty())
        .collect();
    if as_json {
        let stages: serde_json::Map<_, _> = different
            .iter()
            .map(|different| {
                (different.stage.clone(), json!({ "causes": different.causes, "inputs": different.inputs }))
            })
            .collect();
        ui.data(&json!({ "a": a.record.id, "b": b.record.id, "stages": stages }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let alike = names.len() - different.len();
    if let Some(stage) = stage {
        let runs = format!("in {} and {}", a.record.id, b.record.id);
        let Some(found) = different.first() else {
            ui.data(&format!("{stage} is the same {runs}"))?;
            return Ok(ExitCode::Ok);
        };
        ui.data(&format!("{stage} is not the same {runs}:"))?;
        for line in nearest(&found.causes, ui).iter().chain(&found.inputs) {
            ui.data(&format!("  {line}"))?;
        }
        return Ok(ExitCode::Ok);
    }
    for line in together(&different) {
        ui.data(&line)?;
    }
    ui.say(&match different.len() {
        0 => format!("all of {} the same in both runs", count(names.len(), "stage")),
        1 => format!("1 stage differs, {alike} the same"),
        number => format!("{number} stages differ, {alike} the same"),
    });
    Ok(ExitCode::Ok)
}

impl Side {
    fn read(store: &Store, run: &str) -> Result<Self, Failure> {
        let record = RunRecord::read(store, &find_run(store, run)?)?;
        match (&record.plan, &record.report) {
            (Some(plan), Some(report)) => {
                let view = View::of_run(store, plan, report);
                Ok(Self { record, view })
            }
            _ => Err(Failure {
                code: ExitCode::Engine,
                report: miette!(
                    code = "explain::no_report",
                    help = "only a run that came to its end can be compared",
                    "run {} wrote no report: it is {}",
                    record.id,
                    record.status()
                ),
            }),
        }
    }
}

fn known(stage: &str, a: &Side, b: &Side) -> Result<(), Failure> {
    if a.view.stages.contains_key(stage) || b.view.stages.contains_key(stage) {
        return Ok(());
    }
    let names: Vec<&str> = b.view.stages.keys().map(String::as_str).collect();
    let help = format!("stages of the second run: {}", names.join(", "));
    Err(Failure::usage(miette!(code = "run::unknown_stage", help = help, "neither run has a stage `{stage}`")))
}

/// What the stage reads from others and is not the same, as far as both contents are still in the store.
fn changed_inputs(store: &Store, stage: &str, a: &Side, b: &Side) -> Vec<String> {
    let inputs = b.view.stages.get(stage).map(|view| &view.inputs);
    let wires = inputs.into_iter().flatten().flat_map(|(port, wire)| wire.outputs.iter().map(move |from| (port, from)));
    wires
        .filter_map(|(port, (upstream, output))| {
            let (old, new) = (a.view.output(upstream, output)?, b.view.output(upstream, output)?);
            let detail = (old.digest != new.digest).then(|| Detail::between(store, old, new))??;
            Some(format!("input {port} ({upstream}.{output}): {detail}"))
        })
        .collect()
}

/// Every cause once, and the stages it reaches.
fn together(different: &[Different]) -> Vec<String> {
    let mut found: Vec<(&Cause, Vec<&str>)> = Vec::new();
    for Different { stage, causes, .. } in different {
        for cause in causes {
            // A source is the same cause wherever it is read first.
            let same = |(other, _): &&mut (&Cause, _)| {
                other.reason == cause.reason
                    && (other.stage == cause.stage || matches!(cause.reason, Reason::Source { .. }))
            };
            match found.iter_mut().find(same) {
                Some((_, stages)) => stages.push(stage),
                None => found.push((cause, vec![stage])),
            }
        }
    }
    let line = |(cause, mut stages): (&Cause, Vec<&str>)| {
        let own = Cause { distance: 0, ..cause.clone() };
        if matches!(cause.reason, Reason::Source { .. }) {
            return format!("{own} → {}", stages.join(", "));
        }
        stages.retain(|stage| *stage != cause.stage);
        let further = if stages.is_empty() { String::new() } else { format!(" → {}", stages.join(", ")) };
        format!("{}: {own}{further}", cause.stage)
    };
    found.into_iter().map(line).collect()
}
