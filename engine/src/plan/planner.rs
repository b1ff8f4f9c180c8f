use std::collections::{BTreeMap, BTreeSet};

use refit_cache::{Digest, Lookup, Manifest, StepKey, Store, StoreError, Tree};

use super::{
    History, Plan, Reason, Sources, Step, StepState, Surroundings, collected::content, difference::differences,
};
use crate::{
    graph::{InputRef, Pipeline, StageNode},
    stage::StageError,
};

/// What runs even though its result is in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Force {
    /// Nothing.
    #[default]
    Nothing,
    /// Every stage.
    All,
    /// These stages.
    Stages(BTreeSet<String>),
}

impl Force {
    /// Whether that stage is forced.
    pub fn applies_to(&self, stage: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Stages(stages) => stages.contains(stage),
        }
    }
}

/// What to do with a stage whose inputs are all known.
#[derive(Debug)]
pub enum Decision {
    /// Its result is in the store.
    Reuse(Box<Manifest>),
    /// It must run.
    Run {
        /// Its key.
        key: StepKey,
        /// The content of its inputs, and of what else counts.
        inputs: BTreeMap<String, Digest>,
        /// Why, the nearest causes first.
        reasons: Vec<Reason>,
    },
    /// It cannot run: something outside that counts cannot be had.
    Unable(StageError),
}

/// Decides, stage by stage, between reuse and run.
pub struct Planner<'s> {
    store: &'s Store,
    history: History<'s>,
    surroundings: &'s Surroundings<'s>,
    force: Force,
}

impl<'s> Planner<'s> {
    /// A planner for one pipeline over one store.
    pub fn new(store: &'s Store, pipeline: &str, force: Force, surroundings: &'s Surroundings<'s>) -> Self {
        Self { store, history: History::new(store, pipeline), surroundings, force }
    }

    /// Decides about a stage whose inputs have this content.
    pub fn decide(&self, node: &StageNode, mut inputs: BTreeMap<String, Digest>) -> Result<Decision, StoreError> {
        if let Err(error) = self.surroundings.add_to(&mut inputs, node) {
            return Ok(Decision::Unable(error));
        }
        let key = StepKey::compute(node.kind.name, node.kind.version, &node.with, &inputs);
        if self.force.applies_to(&node.name) {
            return Ok(Decision::Run { key, inputs, reasons: vec![Reason::Forced] });
        }
        if !node.cache {
            return Ok(Decision::Run { key, inputs, reasons: vec![Reason::NotCached] });
        }
        let reasons = match self.store.lookup(&key)? {
            Lookup::Hit(manifest) => return Ok(Decision::Reuse(manifest)),
            Lookup::Missing { object, .. } => vec![Reason::OutputMissing { object: Some(object) }],
            Lookup::Corrupt { what, .. } => vec![Reason::OutputCorrupt { what }],
            Lookup::Absent => match self.history.last(&node.name) {
                None => vec![Reason::NeverRan],
                Some(last) => {
                    let found = differences(node, &inputs, &last, self.surroundings.variables());
                    if found.is_empty() { vec![Reason::OutputMissing { object: None }] } else { found }
                }
            },
        };
        Ok(Decision::Run { key, inputs, reasons })
    }

    /// What the stage took the last time it ran, in seconds.
    pub fn last_seconds(&self, stage: &str) -> Option<f64> {
        self.history.last_seconds(stage)
    }
}

/// What went wrong, and its nearest cause.
fn in_one_line(error: &StageError) -> String {
    match error.causes.first() {
        Some(cause) => format!("{}: {cause}", error.message),
        None => error.message.clone(),
    }
}

/// Plans a whole pipeline without running anything.
pub fn plan(pipeline: &Pipeline, sources: &Sources, planner: &Planner<'_>) -> Result<Plan, StoreError> {
    let mut outputs: BTreeMap<&str, BTreeMap<String, Tree>> = BTreeMap::new();
    let mut steps = Vec::new();
    for node in pipeline.stages.stages() {
        let mut inputs = BTreeMap::new();
        let (mut upstream, mut unfetched) = (BTreeSet::new(), BTreeSet::new());
        let mut unable = Vec::new();
        for (port, input) in &node.inputs {
            let digest = match input {
                InputRef::Source(source) => match (sources.unreadable(source), sources.digest(source)) {
                    (Some(error), _) => {
                        unable.push(Reason::Unable { what: in_one_line(error) });
                        None
                    }
                    (None, None) => {
                        unfetched.insert(source.clone());
                        None
                    }
                    (None, digest) => digest,
                },
                InputRef::Output { .. } | InputRef::Many { .. } => content(input, |stage, port| {
                    let tree = outputs.get(stage).and_then(|ports| ports.get(port));
                    tree.map(|tree| tree.digest).or_else(|| {
                        upstream.insert(stage.to_owned());
                        None
                    })
                }),
            };
            if let Some(digest) = digest {
                inputs.insert(port.clone(), digest);
            }
        }
        let mut step = Step {
            stage: node.name.clone(),
            kind: node.kind.name,
            state: StepState::Run,
            key: None,
            reasons: Vec::new(),
            outputs: BTreeMap::new(),
            last_seconds: None,
        };
        if !unable.is_empty() {
            step.state = StepState::Blocked;
            step.reasons = unable;
        } else if upstream.is_empty() && unfetched.is_empty() {
            match planner.decide(node, inputs)? {
                Decision::Reuse(manifest) => {
                    step.state = StepState::Cached;
                    step.key = Some(manifest.key);
                    step.last_seconds = Some(manifest.seconds);
                    outputs.insert(&node.name, manifest.outputs.clone());
                    step.outputs = manifest.outputs;
                }
                Decision::Run { key, reasons, .. } => {
                    step.key = Some(key);
                    step.reasons = reasons;
                }
                Decision::Unable(error) => {
                    step.state = StepState::Blocked;
                    step.reasons.push(Reason::Unable { what: error.message });
                }
            }
        } else {
            if !unfetched.is_empty() {
                step.reasons.push(Reason::NotFetched { sources: unfetched.into_iter().collect() });
            }
            if !upstream.is_empty() {
                step.reasons.push(Reason::Upstream { stages: upstream.into_iter().collect() });
            }
        }
        if step.state == StepState::Run {
            step.last_seconds = planner.last_seconds(&node.name);
        }
        steps.push(step);
    }
    Ok(Plan::new(steps))
}
