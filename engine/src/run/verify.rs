//! Carries steps out once more whose result is known, to see whether they make the same bytes.

use std::{collections::HashMap, path::PathBuf};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use refit_cache::{Content, Digest, Entry, Lookup, Manifest, StepKey, Tree};
use serde::{Deserialize, Serialize};

use super::{
    RunError, RunEvent,
    attempt::{pass_on, settings},
    executor::Scene,
    session::Session,
    step::{Failure, ReadyStep, StepEnd},
};
use crate::{
    schedule::{Grant, Permits, Scheduler, StepId},
    stage::StageError,
};

/// What became of a step that was carried out once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It made the same bytes.
    Identical,
    /// It did not: what it is declared to be, `deterministic`, it is not.
    Differs {
        /// The outputs that differ.
        outputs: Vec<Difference>,
    },
    /// It failed.
    Failed {
        /// Why.
        error: Box<StageError>,
    },
}

/// An output that came out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The port.
    pub output: String,
    /// The content that is kept.
    pub kept: Digest,
    /// The content that was made once more, which is not.
    pub made: Digest,
    /// Of a folder: the files that differ, or that only one of the two has.
    pub files: Vec<String>,
}

impl Difference {
    /// What differs between two results of a step.
    fn between(kept: &Manifest, made: &Manifest) -> Vec<Self> {
        let pairs = kept.outputs.iter().filter_map(|(port, tree)| Some((port, tree, made.outputs.get(port)?)));
        pairs
            .filter(|(_, kept, made)| kept.digest != made.digest)
            .map(|(port, kept, made)| Self {
                output: port.clone(),
                kept: kept.digest,
                made: made.digest,
                files: differing(kept, made),
            })
            .collect()
    }
}

fn differing(kept: &Tree, made: &Tree) -> Vec<String> {
    let (Content::Folder(kept), Content::Folder(made)) = (&kept.content, &made.content) else { return Vec::new() };
    let one_sided = |these: &[Entry], others: &[Entry]| {
        let others: HashMap<&str, &Entry> = others.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        let differs = |entry: &&Entry| others.get(entry.path.as_str()) != Some(entry);
        these.iter().filter(differs).map(|entry| entry.path.clone()).collect::<Vec<_>>()
    };
    let mut files = one_sided(kept, made);
    files.extend(one_sided(made, kept));
    files.sort();
    files.dedup();
    files
}

/// A step that was carried out once more.
struct Repeated {
    stages: Vec<StepId>,
    kept: Manifest,
    grant: Grant,
    end: StepEnd,
}

/// Carries every step out once more that has a result and is declared to be deterministic. Nothing waits for anything:
/// all inputs are there. What the steps make is compared and not kept.
pub(super) async fn verify(session: &mut Session<'_>) -> Result<(), RunError> {
    let scene = session.scene;
    // Of the stages that share a step, the first one does it for all.
    let mut steps: HashMap<StepId, (StepKey, Vec<StepId>)> =
        session.repeatable().into_iter().map(|(key, stages)| (stages[0], (key, stages))).collect();
    let nodes = || steps.keys().map(|step| session.node(*step));
    let capacity = scene.workshop.options.capacity_for(nodes());
    RunError::of_shortages(
        scene.pipeline,
        nodes().filter_map(|node| Some((node, node.terms.demand.shortage(&capacity)?))),
    )?;
    let mut permits = Permits::new(capacity);
    let mut scheduler = Scheduler::new(scene.pipeline.stages.len(), std::iter::empty());
    scheduler.rank(|step| session.took(step));
    for step in steps.keys() {
        let terms = &session.node(*step).terms;
        scheduler.enqueue(*step, &terms.demand, terms.priority);
    }
    let mut running: FuturesUnordered<LocalBoxFuture<'_, Repeated>> = FuturesUnordered::new();
    loop {
        while !scene.is_halted()
            && let Some((step, grant)) = scheduler.start(&mut permits)
        {
            let Some((key, stages)) = steps.remove(&step) else { continue };
            // What was damaged since it was made is for the next run to find.
            let Lookup::Hit(kept) = scene.workshop.store.lookup(&key)? else {
                permits.give_back(grant);
                continue;
            };
            let node = session.node(step);
            scene.tell(&RunEvent::Verifying { stage: node.name.clone() });
            let feeds = match session.feeds(step) {
                Ok(feeds) => feeds,
                Err(error) => {
                    permits.give_back(grant);
                    tell(session, &stages, Verdict::Failed { error: Box::new(error) }, None);
                    continue;
                }
            };
            let settings = settings(scene, node, &grant, permits.gpus(), 1);
            let ready = ReadyStep { node, key: kept.key, inputs: kept.inputs.clone(), feeds, settings, again: true };
            running.push(Box::pin(repeat(scene, stages, ready, *kept, grant)));
        }
        let Some(Repeated { stages, kept, grant, end }) = running.next().await else { return Ok(()) };
        permits.give_back(grant);
        match end {
            StepEnd::Made(made) => {
                let outputs = Difference::between(&kept, &made.manifest);
                let verdict = if outputs.is_empty() { Verdict::Identical } else { Verdict::Differs { outputs } };
                tell(session, &stages, verdict, made.log);
            }
            StepEnd::Failed(Failure { error, log, .. }) => {
                tell(session, &stages, Verdict::Failed { error: Box::new(error) }, log);
            }
            StepEnd::CorruptInput { object } => {
                let error = StageError::new("engine::corrupt_input", format!("an input is damaged: {object}"))
                    .help("run again: what is damaged is made anew");
                tell(session, &stages, Verdict::Failed { error: Box::new(error) }, None);
            }
            StepEnd::Interrupted => {}
        }
    }
}

fn tell(session: &mut Session<'_>, stages: &[StepId], verdict: Verdict, log: Option<PathBuf>) {
    for &step in stages {
        let stage = session.node(step).name.clone();
        session.scene.tell(&RunEvent::Verified { stage, verdict: verdict.clone(), log: log.clone() });
        session.verified(step, verdict.clone());
    }
}

/// Carries a step out in an empty folder, so that nothing is left of an earlier try to go on from.
async fn repeat<'a>(
    scene: &'a Scene<'a>,
    stages: Vec<StepId>,
    ready: ReadyStep<'a>,
    kept: Manifest,
    grant: Grant,
) -> Repeated {
    let folder = scene.workshop.store.step_folder(&ready.key);
    let clear = || if folder.exists() { fs_err::remove_dir_all(&folder) } else { Ok(()) };
    let end = match clear() {
        Ok(()) => {
            let stage = &ready.node.name;
            let end = scene.workshop.carry_out(&ready, scene.halt.clone(), |event| pass_on(scene, stage, event)).await;
            if matches!(end, StepEnd::Made(_)) {
                // A folder that stays costs space until the next `gc`, nothing else.
                let _ = clear();
            }
            end
        }
        Err(error) => error.into(),
    };
    Repeated { stages, kept, grant, end }
}
