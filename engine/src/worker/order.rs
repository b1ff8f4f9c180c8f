use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{graph::file_name, stage::Settings};

/// All that a worker is told: enough to run the step on any machine that sees the same paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOrder {
    /// The stage's name, for messages.
    pub stage: String,
    /// The kind's name.
    pub kind: String,
    /// Its parameters, completed.
    pub with: Value,
    /// Where the input of each port lies.
    pub inputs: BTreeMap<String, PathBuf>,
    /// The step's own folder.
    pub folder: PathBuf,
    /// What the step is told about the machine.
    pub settings: Settings,
}

impl StepOrder {
    /// Where the order of a step lies, given the run's `plan.json`.
    pub fn path(plan: &Path, stage: &str) -> PathBuf {
        plan.with_file_name("steps").join(file_name(stage)).join("step.json")
    }

    /// Where inputs that come from the store are laid out.
    pub fn inputs_folder(folder: &Path) -> PathBuf {
        folder.join("in")
    }

    /// Where the step writes its outputs.
    pub fn outputs_folder(folder: &Path) -> PathBuf {
        folder.join("out")
    }

    /// What outlives a kill.
    pub fn scratch_folder(folder: &Path) -> PathBuf {
        folder.join("scratch")
    }

    /// Held by the worker while it runs, so that an orphan and its successor never write at the same time.
    pub fn lock_file(folder: &Path) -> PathBuf {
        folder.join("worker.lock")
    }
}
