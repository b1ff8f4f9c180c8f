use std::path::PathBuf;

use refit_cache::StepKey;
use serde::Serialize;
use serde_json::Value;

use super::Verdict;
use crate::{
    plan::Reason,
    stage::{Progress, StageError},
};

/// What happens in a run, for whoever shows or records it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// A source is being fetched.
    Fetching {
        /// Its name in the pipeline.
        source: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, when known.
        total: Option<u64>,
    },
    /// A step's result was in the store.
    Cached {
        /// The stage.
        stage: String,
        /// Its key.
        key: StepKey,
        /// When the result was made.
        created: jiff::Timestamp,
        /// What its command said then.
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<PathBuf>,
        /// Whether it came from another machine in this run.
        remote: bool,
    },
    /// The run waits until results that were made have been copied to other machines.
    Sharing {
        /// How many.
        results: usize,
    },
    /// Results that were made in this run are there for other machines.
    Shared {
        /// How many.
        results: usize,
        /// Bytes that had to be copied.
        bytes: u64,
    },
    /// A step started.
    Started {
        /// The stage.
        stage: String,
        /// Its key.
        key: StepKey,
        /// Why it runs.
        reasons: Vec<Reason>,
        /// Which try it is, from 1.
        attempt: u32,
    },
    /// A step moved on.
    Progress {
        /// The stage.
        stage: String,
        /// How far it is.
        progress: Progress,
    },
    /// Something a person should know.
    Warning {
        /// The stage, when it came from one.
        stage: Option<String>,
        /// One sentence.
        message: String,
    },
    /// A fact recorded with the run.
    Fact {
        /// The stage.
        stage: String,
        /// A dotted name.
        name: String,
        /// Its value.
        value: Value,
    },
    /// A step ended well and its result is in the store.
    Finished {
        /// The stage.
        stage: String,
        /// Its key.
        key: StepKey,
        /// Wall time in seconds.
        seconds: f64,
        /// The worker's peak resident memory in bytes; 0 where nobody could tell.
        peak_memory: u64,
        /// What it said, in full, if it said anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<PathBuf>,
    },
    /// A step failed.
    Failed {
        /// The stage.
        stage: String,
        /// Why.
        error: StageError,
        /// Its full log, if it has one.
        log: Option<PathBuf>,
    },
    /// A step failed and is tried again.
    Retrying {
        /// The stage.
        stage: String,
        /// Why it failed.
        error: StageError,
        /// The full log of the try, if it has one.
        log: Option<std::path::PathBuf>,
        /// Which try that was, from 1.
        attempt: u32,
        /// How often it is tried again at most.
        retries: u32,
        /// Seconds until the next try.
        delay: f64,
    },
    /// A stage cannot run because of others.
    Blocked {
        /// The stage.
        stage: String,
        /// What stands in its way.
        by: Vec<String>,
    },
    /// A step whose result is known is carried out once more.
    Verifying {
        /// The stage.
        stage: String,
    },
    /// A step was carried out once more.
    Verified {
        /// The stage.
        stage: String,
        /// What became of it.
        verdict: Verdict,
        /// Its full log, if it has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        log: Option<PathBuf>,
    },
    /// Damage was found and set aside; the run goes over its plan again.
    Replanned {
        /// What was damaged.
        object: String,
    },
    /// An artifact was copied out.
    Exported {
        /// Where to, relative to the pipeline's folder.
        to: String,
        /// `stage.port`.
        from: String,
        /// Whether the file or folder had to be written.
        written: bool,
    },
}

/// Sees a run's events as they happen.
pub trait Observer: Send + Sync {
    /// Called from the engine's threads; must not block for long.
    fn observe(&self, event: &RunEvent);
}

impl<F: Fn(&RunEvent) + Send + Sync> Observer for F {
    fn observe(&self, event: &RunEvent) {
        self(event);
    }
}
