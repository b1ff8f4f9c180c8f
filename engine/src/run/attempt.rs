//! One pass over the graph: every step is decided about when its inputs are settled, and started when it is its turn.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use refit_cache::StepKey;
use tokio::time::Instant;

use super::{
    Halt, RunError, RunEvent,
    committing::{Committed, Committing},
    executor::Scene,
    session::{Session, Work},
    sharing::{Answer, Asking},
    step::{Failure, ReadyStep, StepEnd, Uncommitted},
};
use crate::{
    graph::StageNode,
    schedule::{Grant, Permits, Scheduler, StepId},
    stage::{Event, Resource, Settings},
};

/// What is under way in a pass.
pub(super) struct Attempt<'s, 'a> {
    session: &'s mut Session<'a>,
    scheduler: Scheduler,
    /// What the machine has is looked at when the first step must run.
    permits: Option<Permits>,
    /// What is known of the steps that wait for their turn.
    waiting: HashMap<StepId, Work>,
    /// By the key of each step that waits or runs: others that turned out to be the same step. The first one does it, the
    /// others find its result.
    twins: HashMap<StepKey, Vec<StepId>>,
    /// By key: steps whose result may come from another machine.
    asking: Asking<'a>,
    asked_for: HashMap<StepKey, Vec<StepId>>,
    /// Steps to decide about again: their twin is done, or the other machine has answered.
    freed: Vec<StepId>,
    /// Steps that failed and are tried again at that time.
    resting: BTreeMap<(Instant, StepId), Resting>,
    running: FuturesUnordered<LocalBoxFuture<'a, Carried>>,
    /// Begun with the first step that must run, too.
    committing: Option<Committing<'a>>,
    /// The first object that turned out to be damaged.
    corrupt: Option<String>,
}

/// A step that was carried out.
struct Carried {
    step: StepId,
    work: Work,
    grant: Grant,
    end: StepEnd,
}

/// A step between two tries, and how the last one ended.
struct Resting {
    work: Work,
    last: Failure,
}

impl<'s, 'a> Attempt<'s, 'a> {
    pub(super) fn new(session: &'s mut Session<'a>) -> Self {
        let stages = &session.scene.pipeline.stages;
        let scheduler = Scheduler::new(stages.len(), stages.wires());
        let asking = Asking::new(session.scene);
        Self {
            session,
            scheduler,
            permits: None,
            waiting: HashMap::new(),
            twins: HashMap::new(),
            asking,
            asked_for: HashMap::new(),
            freed: Vec::new(),
            resting: BTreeMap::new(),
            running: FuturesUnordered::new(),
            committing: None,
            corrupt: None,
        }
    }

    /// Goes on until nothing more can run. Returns a damaged object when the run has to start over.
    pub(super) async fn run(mut self) -> Result<Option<String>, RunError> {
        loop {
            self.decide()?;
            if self.start() {
                continue;
            }
            // What is recorded so far can be read while the steps run.
            self.session.scene.journal.flush();
            if !self.wait().await {
                return Ok(self.corrupt);
            }
        }
    }

    /// Whether no further step may start.
    fn is_ending(&self) -> bool {
        self.corrupt.is_some() || self.session.is_ending()
    }

    /// Decides about every step that is due, in the graph's order: most are settled here and now.
    fn decide(&mut self) -> Result<(), RunError> {
        let mut found = Vec::new();
        while let Some(step) = self.freed.pop().or_else(|| self.scheduler.due()) {
            // What an earlier pass settled stays so.
            if !self.session.is_settled(step)
                && let Some(work) = self.session.consider(step)?
            {
                let node = self.session.node(step);
                if !self.is_ending() && self.asking.ask(node, work.key, &work.reasons) {
                    self.asked_for.entry(work.key).or_default().push(step);
                } else {
                    found.push((step, work));
                }
            } else {
                self.scheduler.settle(step, self.session.has_result(step));
            }
        }
        if !found.is_empty() && self.permits.is_none() {
            self.look_at_the_machine()?;
        }
        for (step, work) in found {
            match self.twins.entry(work.key) {
                Entry::Occupied(mut twins) => twins.get_mut().push(step),
                Entry::Vacant(place) => {
                    place.insert(Vec::new());
                    self.enqueue(step, work);
                }
            }
        }
        Ok(())
    }

    /// What is not settled after the first steps were decided about is what may run: only that needs anything.
    fn look_at_the_machine(&mut self) -> Result<(), RunError> {
        let session = &*self.session;
        let steps = || self.scheduler.unsettled().filter(|step| session.is_selected(*step));
        let options = session.scene.workshop.options;
        let capacity = options.capacity_for(steps().map(|step| session.node(step)));
        let unmet =
            steps().filter_map(|step| Some((session.node(step), session.node(step).terms.demand.shortage(&capacity)?)));
        RunError::of_shortages(session.scene.pipeline, unmet)?;
        self.scheduler.rank(|step| session.took(step));
        self.permits = Some(Permits::new(capacity));
        let workshop = &session.scene.workshop;
        self.committing = Some(Committing::new(workshop)?);
        Ok(())
    }

    fn enqueue(&mut self, step: StepId, work: Work) {
        let terms = &self.session.node(step).terms;
        self.scheduler.enqueue(step, &terms.demand, terms.priority);
        self.waiting.insert(step, work);
    }

    /// Starts what may start. Returns whether a step was settled by that, so that others may be due.
    fn start(&mut self) -> bool {
        if self.is_ending() {
            return self.give_up_resting();
        }
        let Some(permits) = &mut self.permits else { return false };
        while let Some((step, grant)) = self.scheduler.start(permits) {
            let Some(work) = self.waiting.remove(&step) else { continue };
            let node = self.session.node(step);
            match self.session.feeds(step) {
                Ok(feeds) => {
                    let scene = self.session.scene;
                    scene.tell(&RunEvent::Started {
                        stage: node.name.clone(),
                        key: work.key,
                        reasons: work.reasons.clone(),
                        attempt: work.attempt,
                    });
                    let settings = settings(scene, node, &grant, permits.gpus(), work.attempt);
                    let (key, inputs) = (work.key, work.inputs.clone());
                    let ready = ReadyStep { node, key, inputs, feeds, settings, again: false };
                    self.running.push(carry_out(scene, step, ready, work, grant));
                }
                Err(error) => {
                    permits.give_back(grant);
                    self.settle(step, work, Some(Failure::early(error)));
                    return true;
                }
            }
        }
        false
    }

    /// A step that would be tried again is not waited for when nothing else starts any more.
    fn give_up_resting(&mut self) -> bool {
        let resting = std::mem::take(&mut self.resting);
        let any = !resting.is_empty();
        for ((_, step), Resting { work, last }) in resting {
            let failure = (!self.session.scene.is_halted()).then_some(last);
            self.settle(step, work, failure);
        }
        any
    }

    /// Waits until something happens. Returns false when nothing can.
    async fn wait(&mut self) -> bool {
        let wake = self.resting.first_key_value().map(|((at, _), _)| *at);
        let is_committing = self.committing.as_ref().is_some_and(|committing| !committing.is_empty());
        if self.running.is_empty() && self.asking.is_empty() && !is_committing && wake.is_none() {
            return false;
        }
        let mut halt = self.session.scene.halt.clone();
        tokio::select! {
            Some(carried) = self.running.next(), if !self.running.is_empty() => self.end(carried),
            Some(answer) = self.asking.next(), if !self.asking.is_empty() => self.answered(&answer),
            Some(committed) = next(&mut self.committing), if is_committing => self.committed(committed),
            () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.wake(),
            // Only what rests has to be told; what runs listens itself.
            Ok(_) = halt.wait_for(|halt| *halt != Halt::None), if wake.is_some() => {}
        }
        true
    }

    /// Decides again about the steps that waited for an answer.
    fn answered(&mut self, answer: &Answer) {
        if answer.arrived {
            self.session.arrived(answer.key);
        }
        self.freed.extend(self.asked_for.remove(&answer.key).unwrap_or_default());
    }

    /// Puts a step whose time has come back into its queue.
    fn wake(&mut self) {
        if let Some(((_, step), Resting { work, .. })) = self.resting.pop_first() {
            self.enqueue(step, Work { attempt: work.attempt + 1, ..work });
        }
    }

    fn end(&mut self, carried: Carried) {
        let Carried { step, work, grant, end } = carried;
        if let Some(permits) = &mut self.permits {
            permits.give_back(grant);
        }
        match end {
            StepEnd::CorruptInput { object } => self.corrupt = Some(object),
            StepEnd::Failed(failure) => {
                let again = self.session.node(step).terms.retries.delay_after(work.attempt);
                match again.filter(|_| !self.is_ending()) {
                    Some(delay) => self.rest(step, work, delay, failure),
                    None => self.settle(step, work, Some(failure)),
                }
            }
            StepEnd::Made(made) => self.made(step, work, made),
            StepEnd::Interrupted => self.settle(step, work, None),
        }
    }

    /// Others may go on with what a step made; those that turned out to be the same step look for it once it is durable.
    fn made(&mut self, step: StepId, work: Work, made: Uncommitted) {
        let Some(committing) = &mut self.committing else { return };
        self.session.made(step, &work, &made.manifest);
        committing.begin(step, made);
        self.scheduler.settle(step, true);
    }

    fn committed(&mut self, committed: Committed) {
        let Committed { step, manifest, log, outcome } = committed;
        self.freed.extend(self.twins.remove(&manifest.key).unwrap_or_default());
        match outcome {
            Ok(()) => self.session.committed(step, &manifest, log),
            Err(error) => self.session.lost(step, &error, log),
        }
    }

    /// Settles a step that made nothing.
    fn settle(&mut self, step: StepId, work: Work, failure: Option<Failure>) {
        self.freed.extend(self.twins.remove(&work.key).unwrap_or_default());
        self.session.end(step, work, failure);
        self.scheduler.settle(step, self.session.has_result(step));
    }

    /// Lets a step that failed rest before it is tried again. It occupies nothing meanwhile, and its scratch stays.
    fn rest(&mut self, step: StepId, work: Work, delay: Duration, mut last: Failure) {
        let (scene, node) = (self.session.scene, self.session.node(step));
        last.log = last.log.map(|log| set_aside(&log, work.attempt).unwrap_or(log));
        scene.tell(&RunEvent::Retrying {
            stage: node.name.clone(),
            error: last.error.clone(),
            log: last.log.clone(),
            attempt: work.attempt,
            retries: node.terms.retries.times,
            delay: delay.as_secs_f64(),
        });
        self.resting.insert((Instant::now() + delay, step), Resting { work, last });
    }
}

/// Waits for the next result that is durable, or cannot be.
async fn next(committing: &mut Option<Committing<'_>>) -> Option<Committed> {
    committing.as_mut()?.next().await
}

/// Keeps the log of a try from being written over by the next one: `stderr.log` becomes `stderr.1.log`.
fn set_aside(log: &Path, attempt: u32) -> io::Result<PathBuf> {
    let kept = log.with_extension(format!("{attempt}.log"));
    fs_err::rename(log, &kept)?;
    Ok(kept)
}

/// Where the store holds what steps found out about kernels of GPUs: can be deleted at any time.
const KERNELS_FOLDER: &str = "kernels";

/// What a step is told about the machine, given what it was granted.
pub(super) fn settings(scene: &Scene<'_>, node: &StageNode, grant: &Grant, gpus: usize, attempt: u32) -> Settings {
    let mut settings = Settings {
        gpus: grant.gpus.clone(),
        kernels: Some(scene.workshop.store.root().join(KERNELS_FOLDER)),
        attempt,
        ..scene.workshop.options.settings.clone()
    };
    if let Some(threads) = node.terms.threads {
        settings.threads = settings.threads.min(threads);
    }
    // With one GPU there is nothing to choose, and what `--device` says is said better.
    if gpus > 1 && !grant.gpus.is_empty() && node.kind.resource != Resource::Cpu {
        settings.device = grant.gpus.iter().map(|gpu| format!("wgpu:{gpu}")).collect::<Vec<_>>().join(",");
    }
    settings
}

/// Tells what a step says.
pub(super) fn pass_on(scene: &Scene<'_>, stage: &str, event: &Event) {
    let stage = stage.to_owned();
    match event.clone() {
        Event::Progress(progress) => scene.tell(&RunEvent::Progress { stage, progress }),
        Event::Warning { message } => scene.tell(&RunEvent::Warning { stage: Some(stage), message }),
        Event::Fact { name, value } => scene.tell(&RunEvent::Fact { stage, name, value }),
        Event::Done { .. } | Event::Failed { .. } => {}
    }
}

/// Runs a step and passes its events on.
fn carry_out<'a>(
    scene: &'a Scene<'a>,
    step: StepId,
    ready: ReadyStep<'a>,
    work: Work,
    grant: Grant,
) -> LocalBoxFuture<'a, Carried> {
    Box::pin(async move {
        let stage = &ready.node.name;
        let end = scene.workshop.carry_out(&ready, scene.halt.clone(), |event| pass_on(scene, stage, event)).await;
        Carried { step, work, grant, end }
    })
}
