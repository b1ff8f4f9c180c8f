use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use serde::Deserialize;

use crate::{Digest, RunId, StepKey, Store, StoreError, StoreLock, UsedResult, durable::sync_folder, store::names};

/// The one field of a run's report that matters here.
#[derive(Deserialize)]
struct Report {
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    #[serde(default)]
    key: Option<StepKey>,
    #[serde(default)]
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
struct Output {
    digest: Digest,
}

/// An event about a stage.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    key: Option<StepKey>,
}

impl Stage {
    fn used(&self) -> Option<UsedResult> {
        let outputs = self.outputs.iter().map(|(port, output)| (port.as_str(), output.digest));
        self.key.map(|key| UsedResult::new(key, outputs))
    }
}

/// What a run used, as far as its folder tells.
pub(crate) enum Used {
    Results(BTreeSet<UsedResult>),
    /// The run wrote no report: it was killed.
    Unknown,
    Unreadable(String),
}

impl Store {
    /// Creates the folder of a run that begins now. Its id sorts after all others, also when the clock was set back.
    pub fn create_run(&self, _lock: &StoreLock) -> Result<RunId, StoreError> {
        let newest = self.runs()?.into_iter().next();
        let runs = self.folder("runs");
        loop {
            let mut id = RunId::now();
            if let Some(newest) = newest.as_ref().filter(|newest| id <= **newest) {
                id = newest.next();
            }
            let folder = self.run_folder(&id);
            match std::fs::create_dir(&folder) {
                Ok(()) => {
                    sync_folder(&runs)?;
                    return Ok(id);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("creating", &folder, error)),
            }
        }
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        let mut runs: Vec<RunId> =
            names(&self.folder("runs"))?.into_iter().filter_map(|(name, _)| name.parse().ok()).collect();
        runs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// The one run that the beginning of its id, or of the part after `-`, names.
    pub fn find_run(&self, prefix: &str) -> Result<RunId, StoreError> {
        let wanted = || prefix.to_owned();
        let mut runs = self.runs()?;
        runs.retain(|run| run.begins_with(prefix));
        match runs.len() {
            0 => Err(StoreError::UnknownRun { wanted: wanted() }),
            1 => Ok(runs.remove(0)),
            _ => Err(StoreError::AmbiguousRun { wanted: wanted(), runs }),
        }
    }

    /// The results of all steps of a run.
    pub(crate) fn used_by(&self, run: &RunId) -> Result<Used, StoreError> {
        let path = self.run_folder(run).join("report.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.used_until_killed(run),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        Ok(match serde_json::from_slice::<Report>(&bytes) {
            Ok(report) => Used::Results(report.stages.iter().filter_map(Stage::used).collect()),
            Err(error) => Used::Unreadable(format!("the report {} cannot be read: {error}", path.display())),
        })
    }

    /// The results that a run made or used, as far as they can be known: those that it made name a run without a record.
    pub(crate) fn results_of(&self, run: &RunId) -> Result<BTreeSet<UsedResult>, StoreError> {
        match self.used_by(run)? {
            Used::Results(results) => Ok(results),
            Used::Unknown | Used::Unreadable(_) => {
                let made = self.all_results()?.into_iter().filter(|kept| kept.manifest.run == *run);
                Ok(made.map(|kept| kept.manifest.used()).collect())
            }
        }
    }

    /// The keys that the events of a run without a report name. Its last line may be cut off.
    fn used_until_killed(&self, run: &RunId) -> Result<Used, StoreError> {
        let path = self.run_folder(run).join("events.jsonl");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Used::Unknown),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        let events = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Event>(line).ok());
        Ok(Used::Results(events.filter_map(|event| event.key).map(UsedResult::any_of).collect()))
    }
}
