use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use refit_cache::{Manifest, RunId, StepKey, Store};
use serde::Deserialize;

/// What the stages of a pipeline did last, read from the records of its runs.
///
/// Needed only to explain and to estimate; a plan in which everything is cached never reads it. Records are read from the
/// newest back, and no further than somebody asks.
pub struct History<'s> {
    store: &'s Store,
    pipeline: String,
    read: Mutex<Option<Read>>,
}

/// As far as the records were read.
struct Read {
    last: HashMap<String, Last>,
    /// The runs that were not read yet, the newest last.
    older: Vec<RunId>,
    runs: usize,
    bytes: u64,
}

/// The last time a stage came to its end.
#[derive(Debug, Clone, Copy)]
struct Last {
    key: StepKey,
    /// What it took, if it ran then.
    seconds: Option<f64>,
}

/// Runs further back are not looked at.
const RUNS_READ: usize = 200;
/// Of very large pipelines, fewer.
const BYTES_READ: u64 = 32 << 20;

impl<'s> History<'s> {
    /// The history of the pipeline of that name; nothing is read yet.
    pub fn new(store: &'s Store, pipeline: &str) -> Self {
        Self { store, pipeline: pipeline.to_owned(), read: Mutex::new(None) }
    }

    /// The record of the last finished step of that stage.
    pub fn last(&self, stage: &str) -> Option<Manifest> {
        let last = self.find(stage)?;
        self.store.manifest(&last.key).ok().flatten()
    }

    /// What the stage took the last time it ran, in seconds.
    pub fn last_seconds(&self, stage: &str) -> Option<f64> {
        let last = self.find(stage)?;
        last.seconds.or_else(|| self.store.manifest(&last.key).ok().flatten().map(|manifest| manifest.seconds))
    }

    fn find(&self, stage: &str) -> Option<Last> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = read.get_or_insert_with(|| {
            let mut older = self.store.runs().unwrap_or_default();
            older.reverse();
            Read { last: HashMap::new(), older, runs: 0, bytes: 0 }
        });
        loop {
            if let Some(last) = read.last.get(stage) {
                return Some(*last);
            }
            if read.runs >= RUNS_READ || read.bytes >= BYTES_READ {
                return None;
            }
            let run = read.older.pop()?;
            let Some((steps, bytes)) = finished_steps(self.store, &run, &self.pipeline) else { continue };
            read.runs += 1;
            read.bytes += bytes;
            for (stage, last) in steps {
                read.last.entry(stage).or_insert(last);
            }
        }
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
        seconds: f64,
    },
    Cached {
        stage: String,
        key: StepKey,
    },
    #[serde(other)]
    Other,
}

/// The stages that a run of the pipeline finished, and the size of its log. The log has them even when the engine was
/// killed; none of a run that has no log of its own because nothing had changed.
fn finished_steps(store: &Store, run: &RunId, pipeline: &str) -> Option<(HashMap<String, Last>, u64)> {
    let folder = store.run_folder(run);
    let log = fs_err::read(folder.join("events.jsonl")).ok()?;
    let head: PlanHead = serde_json::from_slice(&fs_err::read(folder.join("plan.json")).ok()?).ok()?;
    if head.pipeline != pipeline {
        return None;
    }
    // A line torn by a kill is skipped like any that is not about a finished step.
    let steps = log.split(|byte| *byte == b'\n').filter_map(|line| match serde_json::from_slice(line) {
        Ok(LogLine::Finished { stage, key, seconds }) => Some((stage, Last { key, seconds: Some(seconds) })),
        Ok(LogLine::Cached { stage, key }) => Some((stage, Last { key, seconds: None })),
        Ok(LogLine::Other) | Err(_) => None,
    });
    Some((steps.collect(), log.len() as u64))
}
