//! The runs of a sweep on record: their steps are carried out once for all of them, each has a record of its own.

use std::{collections::HashMap, io};

use refit_cache::{RunId, Store, StoreError, StoreLock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RunError, RunOptions, RunPlan, RunReport, RunStatus, RunSummary, StageReport, StageState};
use crate::graph::{Pipeline, Variant};

/// The place of a run in a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantOf {
    /// The record of the common work of all runs of the sweep; its logs are there.
    pub group: RunId,
    /// Which one this is, from 0.
    pub index: usize,
    /// How many there are.
    pub size: usize,
    /// What is swept, by the path given with `-S`, and this run's value of it.
    pub values: Map<String, Value>,
}

/// One run of a sweep, in the report of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRun {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub status: RunStatus,
    /// What is swept, and this run's value of it.
    pub values: Map<String, Value>,
}

/// The records of a sweep's runs while they are carried out.
pub(super) struct SweepRecord<'a> {
    runs: Vec<(RunPlan, RunId, &'a Variant)>,
}

const EVENTS: &str = "events.jsonl";
/// The file that tells the record of a sweep's common work from that of a run: the runs of the sweep.
const SWEEP: &str = "sweep.json";

/// All runs, newest first, without the records of what the runs of a sweep did in common: nobody asked for those.
pub fn runs(store: &Store) -> Result<Vec<RunId>, StoreError> {
    let mut runs = store.runs()?;
    runs.retain(|run| !store.run_folder(run).join(SWEEP).exists());
    Ok(runs)
}

impl<'a> SweepRecord<'a> {
    /// Writes down what each run of the sweep is about to do. A pipeline that is no sweep has none.
    pub(super) fn begin(
        pipeline: &'a Pipeline,
        store: &Store,
        lock: &StoreLock,
        options: &RunOptions,
        group: &RunId,
        started: jiff::Timestamp,
    ) -> Result<Self, RunError> {
        let size = pipeline.variants.len();
        let mut runs = Vec::with_capacity(size);
        for (index, variant) in pipeline.variants.iter().enumerate() {
            let run = store.create_run(lock)?;
            let folder = store.run_folder(&run);
            fs_err::create_dir_all(&folder)?;
            options.labels.write_any(&folder)?;
            let place = VariantOf { group: group.clone(), index, size, values: variant.values.clone() };
            let mut plan = RunPlan::of(&variant.pipeline, options, started);
            plan.overrides.clone_from(&variant.overrides);
            plan.variant = Some(place);
            plan.write(&variant.pipeline, &folder)?;
            runs.push((plan, run, variant));
        }
        if !runs.is_empty() {
            let runs: Vec<&RunId> = runs.iter().map(|(_, run, _)| run).collect();
            fs_err::write(store.run_folder(group).join(SWEEP), serde_json::to_vec(&runs).map_err(io::Error::from)?)?;
        }
        Ok(Self { runs })
    }

    /// Writes the report of each run, from the report of all, and completes that one.
    pub(super) fn end(&self, store: &Store, report: &mut RunReport) -> Result<(), RunError> {
        let stages: HashMap<&str, &StageReport> =
            report.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
        let mut sweep = Vec::with_capacity(self.runs.len());
        for (plan, run, variant) in &self.runs {
            let own = variant.pipeline.stages.stages().filter_map(|node| {
                let shared = stages.get(variant.names.get(&node.name)?.as_str())?;
                Some(StageReport { name: node.name.clone(), ..(*shared).clone() })
            });
            let own: Vec<StageReport> = own.collect();
            let status = status(report.status, &own);
            let sources = report.sources.iter().filter(|(name, _)| variant.pipeline.sources.contains_key(*name));
            let own = RunReport {
                run: run.clone(),
                pipeline: report.pipeline.clone(),
                status,
                started: report.started,
                seconds: own
                    .iter()
                    .filter(|stage| stage.state == StageState::Ran)
                    .filter_map(|stage| stage.seconds)
                    .sum(),
                stages: own,
                exported: report.exported.clone(),
                sources: sources.map(|(name, source)| (name.clone(), source.clone())).collect(),
                variant: plan.variant.clone(),
                sweep: Vec::new(),
            };
            let folder = store.run_folder(run);
            own.write(&folder)?;
            // It is only there for speed: whoever misses it reads the report.
            let _ = RunSummary::of(Some(plan), Some(&own), run).write(&folder);
            sweep.push(SweepRun { run: run.clone(), status, values: variant.values.clone() });
        }
        self.write_events(store, &report.run)?;
        report.sweep = sweep;
        Ok(())
    }

    /// Copies what happened into the log of each run that it happened to, under the names of its own stages.
    fn write_events(&self, store: &Store, group: &RunId) -> io::Result<()> {
        let mut owners: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
        for (place, (_, _, variant)) in self.runs.iter().enumerate() {
            for (own, shared) in &variant.names {
                owners.entry(shared).or_default().push((place, own));
            }
        }
        let mut logs = vec![Vec::new(); self.runs.len()];
        let common = if self.runs.is_empty() {
            String::new()
        } else {
            fs_err::read_to_string(store.run_folder(group).join(EVENTS))?
        };
        for line in common.lines() {
            let Ok(Value::Object(mut event)) = serde_json::from_str(line) else { continue };
            let stage = event.get("stage").and_then(Value::as_str).map(str::to_owned);
            for (place, own) in stage.iter().filter_map(|stage| owners.get(stage.as_str())).flatten() {
                event.insert("stage".to_owned(), (*own).into());
                serde_json::to_writer(&mut logs[*place], &event)?;
                logs[*place].push(b'\n');
            }
        }
        for ((_, run, _), log) in self.runs.iter().zip(logs) {
            fs_err::write(store.run_folder(run).join(EVENTS), log)?;
        }
        Ok(())
    }
}

/// How a run of a sweep ended: the others' failures are not its own.
fn status(all: RunStatus, stages: &[StageReport]) -> RunStatus {
    let has = |states: &[StageState]| stages.iter().any(|stage| states.contains(&stage.state));
    if all == RunStatus::Ok {
        RunStatus::Ok
    } else if has(&[StageState::Failed, StageState::Blocked]) {
        RunStatus::Failed
    } else if has(&[StageState::Skipped]) {
        RunStatus::Interrupted
    } else {
        RunStatus::Ok
    }
}
