use std::{collections::BTreeMap, io, path::Path};

use indexmap::IndexMap;
use refit_cache::{RunId, Store};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{RunPlan, RunReport, RunStatus, StageState};
use crate::plan::leaves;

/// What is listed of a run, in a small file of its own, so that a thousand runs are listed at once.
///
/// It says nothing that the run's plan and report do not say: without the file it is made from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    format: u32,
    /// The run.
    pub run: RunId,
    /// The pipeline's name; none when nothing of the record can be read.
    pub pipeline: Option<String>,
    /// How it ended; none of a run that wrote no report.
    pub status: Option<RunStatus>,
    /// Wall time in seconds.
    pub seconds: Option<f64>,
    /// How many stages came to which state.
    pub stages: BTreeMap<StageState, usize>,
    /// `-S` as given.
    pub overrides: Vec<String>,
    /// `params.NAME` and `STAGE.PATH` → value. None of a pipeline with very many values: its plan has them.
    pub parameters: Option<BTreeMap<String, Value>>,
    /// `STAGE.METRIC` → value, in the order of the stages.
    pub scores: IndexMap<String, Value>,
}

/// The file in the run's folder.
const FILE: &str = "summary.json";
/// Raised when what is in the file changes; another one is made anew from the record.
const FORMAT: u32 = 1;
/// A pipeline with more values than these is read from its plan when somebody asks for one: a run in which nothing
/// happens must not write them all once more.
const MOST_PARAMETERS: usize = 512;

impl RunSummary {
    /// Sums a run up.
    pub fn of(plan: Option<&RunPlan>, report: Option<&RunReport>, run: &RunId) -> Self {
        let pipeline = plan.map(|plan| &plan.pipeline).or(report.map(|report| &report.pipeline));
        let summary = Self {
            format: FORMAT,
            run: run.clone(),
            pipeline: pipeline.cloned(),
            status: None,
            seconds: None,
            stages: BTreeMap::new(),
            overrides: plan.map(|plan| plan.overrides.clone()).unwrap_or_default(),
            parameters: plan.and_then(|plan| parameters(plan, MOST_PARAMETERS)),
            scores: IndexMap::new(),
        };
        match report {
            Some(report) => summary.ended(report),
            None => summary,
        }
    }

    /// The summary of a run that has come to its end since.
    pub(crate) fn ended(self, report: &RunReport) -> Self {
        let scores = report.stages.iter().flat_map(|stage| {
            stage.scores.iter().map(|(metric, value)| (format!("{}.{metric}", stage.name), value.clone()))
        });
        Self {
            status: Some(report.status),
            seconds: Some(report.seconds),
            stages: count_states(report),
            scores: scores.collect(),
            ..self
        }
    }

    /// The summary of another run of the same plan with the same scores.
    pub(crate) fn like(&self, report: &RunReport) -> Self {
        Self { run: report.run.clone(), seconds: Some(report.seconds), stages: count_states(report), ..self.clone() }
    }

    /// Reads what is listed of a run: its summary, else what its plan and report say.
    pub fn read(store: &Store, run: &RunId) -> Self {
        let folder = store.run_folder(run);
        if let Some(summary) = read_json::<Self>(&folder.join(FILE)).filter(|summary| summary.format == FORMAT) {
            return summary;
        }
        let (plan, report) = (RunPlan::read(&folder), RunReport::read(&folder));
        Self::of(plan.as_ref(), report.as_ref(), run)
    }

    /// All parameters, from the run's plan if there are too many for the summary.
    pub fn all_parameters(&self, store: &Store) -> BTreeMap<String, Value> {
        self.parameters.clone().unwrap_or_else(|| {
            let plan = RunPlan::read(&store.run_folder(&self.run));
            plan.and_then(|plan| parameters(&plan, usize::MAX)).unwrap_or_default()
        })
    }

    /// Writes the file. A torn one is noticed when it is read.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        fs_err::write(folder.join(FILE), serde_json::to_vec(self)?)
    }
}

fn count_states(report: &RunReport) -> BTreeMap<StageState, usize> {
    let mut counts = BTreeMap::new();
    for stage in &report.stages {
        *counts.entry(stage.state).or_default() += 1;
    }
    counts
}

/// Every parameter of a run, or none if there are more than `most`.
fn parameters(plan: &RunPlan, most: usize) -> Option<BTreeMap<String, Value>> {
    if plan.stages.len() > most {
        return None;
    }
    let mut found = BTreeMap::new();
    for (stage, planned) in &plan.stages {
        for (path, value) in planned.get("with").map(leaves).unwrap_or_default() {
            found.insert(format!("{stage}.{path}"), value.clone());
        }
        if found.len() > most {
            return None;
        }
    }
    for (name, value) in &plan.params {
        found.insert(format!("params.{name}"), value.clone());
    }
    Some(found)
}

/// A record that is not there, torn or of another version tells nothing; the other ones of the run may.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}
