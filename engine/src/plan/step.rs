use std::collections::{BTreeMap, HashMap};

use refit_cache::{Digest, StepKey, Tree};
use serde::Serialize;

use super::{Reason, collected::content};
use crate::graph::InputRef;

/// What becomes of a stage in this plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Its result is in the store.
    Cached,
    /// It must run, or depends on one that must.
    Run,
    /// It cannot run: a source it needs cannot be had.
    Blocked,
}

/// One stage of a plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// The stage's name.
    pub stage: String,
    /// The kind's name.
    pub kind: &'static str,
    /// Reuse or run.
    pub state: StepState,
    /// Known once every input is.
    pub key: Option<StepKey>,
    /// Why it must run; empty when it must not.
    pub reasons: Vec<Reason>,
    /// The outputs, where they are in the store.
    pub outputs: BTreeMap<String, Tree>,
    /// What it took the last time it ran, in seconds.
    pub last_seconds: Option<f64>,
}

/// Every stage, in the order of the graph.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One step a stage.
    pub steps: Vec<Step>,
    places: HashMap<String, usize>,
}

impl Plan {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        let places = steps.iter().enumerate().map(|(place, step)| (step.stage.clone(), place)).collect();
        Self { steps, places }
    }

    /// The step of a stage.
    pub fn step(&self, stage: &str) -> Option<&Step> {
        self.steps.get(*self.places.get(stage)?)
    }

    /// Whether nothing has to run.
    pub fn is_fresh(&self) -> bool {
        self.steps.iter().all(|step| step.state == StepState::Cached)
    }

    /// The content of an input that comes from stages, as far as the store has it.
    pub fn content(&self, input: &InputRef) -> Option<Digest> {
        content(input, |stage, port| Some(self.step(stage)?.outputs.get(port)?.digest))
    }
}
