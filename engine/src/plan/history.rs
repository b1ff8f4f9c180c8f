use std::{
    collections::{BTreeMap, HashMap},
    io::BufRead,
    path::Path,
    sync::OnceLock,
};

use refit_cache::{Manifest, RunId, StepKey, Store};
use serde::Deserialize;

/// What the stages of a pipeline did last, read from the records of its runs.
///
/// Needed only to explain and to estimate; a plan in which everything is cached never reads it.
pub struct History<'s> {
    store: &'s Store,
    pipeline: String,
    last: OnceLock<HashMap<String, StepKey>>,
}

/// Runs further back are not looked at.
const RUNS_READ: usize = 200;

impl<'s> History<'s> {
    /// The history of the pipeline of that name; nothing is read yet.
    pub fn new(store: &'s Store, pipeline: &str) -> Self {
        Self { store, pipeline: pipeline.to_owned(), last: OnceLock::new() }
    }

    /// The record of the last finished step of that stage.
    pub fn last(&self, stage: &str) -> Option<Manifest> {
        let key = self.last.get_or_init(|| self.read()).get(stage)?;
        self.store.manifest(key).ok().flatten()
    }

    fn read(&self) -> HashMap<String, StepKey> {
        let mut last = HashMap::new();
        for run in self.store.runs().unwrap_or_default().iter().take(RUNS_READ) {
            for (stage, key) in finished_steps(self.store, run, &self.pipeline) {
                last.entry(stage).or_insert(key);
            }
        }
        last
    }
}

#[derive(Deserialize)]
struct PlanHead {
    pipeline: String,
}

/// The lines of a run's log that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum LogLine {
    Finished {
        stage: String,
        key: StepKey,
    },
    Cached {
        stage: String,
        key: StepKey,
    },
    #[serde(other)]
    Other,
}

/// The stages that a run finished. The log has them even when the engine was killed.
fn finished_steps(store: &Store, run: &RunId, pipeline: &str) -> BTreeMap<String, StepKey> {
    let folder = store.run_folder(run);
    let Ok(head) = read_json::<PlanHead>(&folder.join("plan.json")) else { return BTreeMap::new() };
    let Ok(log) = fs_err::File::open(folder.join("events.jsonl")) else { return BTreeMap::new() };
    if head.pipeline != pipeline {
        return BTreeMap::new();
    }
    // A line torn by a kill is skipped like any that is not about a finished step.
    std::io::BufReader::new(log)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| match serde_json::from_str(&line) {
            Ok(LogLine::Finished { stage, key } | LogLine::Cached { stage, key }) => Some((stage, key)),
            Ok(LogLine::Other) | Err(_) => None,
        })
        .collect()
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> std::io::Result<T> {
    Ok(serde_json::from_slice(&fs_err::read(path)?)?)
}
