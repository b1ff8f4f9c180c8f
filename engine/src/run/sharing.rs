//! Results shared with other machines: asked for before a step runs, passed on after it.

use std::collections::HashSet;

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use refit_cache::{Pull, Remote, StepKey};
use tokio::sync::watch;

use super::{Halt, RunEvent, executor::Scene, journal::Journal};
use crate::{graph::StageNode, plan::Reason};

/// Questions to the remote cache. A result is asked for once in a run, and never one whose step was forced.
pub(super) struct Asking<'a> {
    scene: &'a Scene<'a>,
    asked: HashSet<StepKey>,
    waiting: HashSet<StepKey>,
    answers: FuturesUnordered<LocalBoxFuture<'a, (String, StepKey, Pull)>>,
}

/// An answer: which result it is about, and whether it is in the store now.
pub(super) struct Answer {
    pub(super) key: StepKey,
    pub(super) arrived: bool,
}

impl<'a> Asking<'a> {
    pub(super) fn new(scene: &'a Scene<'a>) -> Self {
        Self { scene, asked: HashSet::new(), waiting: HashSet::new(), answers: FuturesUnordered::new() }
    }

    /// Whether the answer for a key is still to come.
    fn awaits(&self, key: &StepKey) -> bool {
        self.waiting.contains(key)
    }

    /// Asks for the result of a stage that would have to run. Returns whether there is something to wait for.
    pub(super) fn ask(&mut self, node: &StageNode, key: StepKey, reasons: &[Reason]) -> bool {
        let Some(remote) = &self.scene.workshop.options.remote else { return false };
        if reasons.contains(&Reason::Forced) || !self.asked.insert(key) {
            return self.awaits(&key);
        }
        let (scene, stage, mut halt) = (self.scene, node.name.clone(), self.scene.halt.clone());
        let pull = remote.pull(scene.workshop.store, scene.workshop.lock, key, node.ports());
        self.waiting.insert(key);
        self.answers.push(Box::pin(async move {
            let answer = tokio::select! {
                answer = pull => answer,
                // Nobody waits for it any more.
                _ = halt.wait_for(|halt| *halt != Halt::None) => Pull::Miss,
            };
            (stage, key, answer)
        }));
        true
    }

    /// Whether nothing is asked for at the moment.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Waits for an answer.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        let (stage, key, pull) = self.answers.next().await?;
        self.waiting.remove(&key);
        match &pull {
            Pull::Hit { .. } | Pull::Miss => {}
            Pull::Refused(message) => {
                self.scene.tell(&RunEvent::Warning { stage: Some(stage), message: message.clone() });
            }
            Pull::Unreachable(message) => {
                self.scene.tell(&RunEvent::Warning { stage: None, message: message.clone() });
            }
        }
        Some(Answer { key, arrived: matches!(pull, Pull::Hit { .. }) })
    }
}

/// Waits until the others have what was made in this run, or until the user wants to wait no longer.
pub(super) async fn settle(remote: &dyn Remote, mut halt: watch::Receiver<Halt>, journal: &Journal<'_>) {
    let results = remote.pending();
    if results > 0 {
        journal.tell(&RunEvent::Sharing { results });
    }
    let pushed = tokio::select! {
        pushed = remote.settle() => pushed,
        _ = halt.wait_for(|halt| *halt != Halt::None) => {
            let message = "what was made is here, but not all of it is shared: `refit cache push` does that".to_owned();
            return journal.tell(&RunEvent::Warning { stage: None, message });
        }
    };
    for message in pushed.failures {
        journal.tell(&RunEvent::Warning { stage: None, message });
    }
    if pushed.results > 0 {
        journal.tell(&RunEvent::Shared { results: pushed.results, bytes: pushed.bytes });
    }
}
