//! The state of a run: what is settled, what may start, and what follows from a step's end.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
};

use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use refit_cache::{Content, Digest, Exported, Manifest, StepKey, Tree};

use super::{
    OutputReport, RunError, RunEvent, RunReport, RunStatus, SourceReport, StageReport, StageState,
    executor::Scene,
    scores::scores,
    step::{Failure, Feed, ReadyStep, StepEnd},
};
use crate::{
    explain::Sketch,
    graph::{InputRef, Part, SourceUri, StageNode},
    plan::{Decision, Planner, Reason, SourceError, Sources, content, sentence},
    stage::{Event, Resource, StageError},
};

/// A run under way. Only the run's own task changes it, so no lock guards it.
pub(super) struct Session<'a> {
    scene: &'a Scene<'a>,
    sources: Sources,
    planner: Planner<'a>,
    selected: BTreeSet<String>,
    settled: BTreeMap<String, StageReport>,
    outputs: BTreeMap<String, BTreeMap<String, Tree>>,
}

/// A step under way and why it runs.
struct Underway<'a> {
    node: &'a StageNode,
    key: StepKey,
    reasons: Vec<Reason>,
}

type Running<'a> = FuturesUnordered<LocalBoxFuture<'a, (Underway<'a>, StepEnd)>>;

impl<'a> Session<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, selected: BTreeSet<String>) -> Result<Self, RunError> {
        let (pipeline, workshop) = (scene.pipeline, &scene.workshop);
        Ok(Self {
            scene,
            sources: Sources::look(pipeline, workshop.store, Some(workshop.lock), scene.fetcher)?,
            planner: Planner::new(
                workshop.store,
                &pipeline.name,
                workshop.options.force.clone(),
                &workshop.surroundings,
            ),
            selected,
            settled: BTreeMap::new(),
            outputs: BTreeMap::new(),
        })
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What every settled stage with a result made: stage → port → artifact.
    pub(super) fn outputs(&self) -> &BTreeMap<String, BTreeMap<String, Tree>> {
        &self.outputs
    }

    /// Fetches what no plan can be made without: sources whose content nobody has written down yet.
    pub(super) fn fetch_unknown(&mut self) -> Result<(), RunError> {
        let unknown: Vec<String> = self
            .scene
            .pipeline
            .stages
            .stages()
            .filter(|node| self.selected.contains(&node.name))
            .flat_map(|node| node.inputs.values())
            .filter_map(InputRef::source)
            .filter(|source| self.sources.digest(source).is_none())
            .map(ToOwned::to_owned)
            .collect();
        for source in unknown {
            // Several stages may read the same source.
            if self.sources.digest(&source).is_none() {
                self.fetch(&source)?;
            }
        }
        Ok(())
    }

    /// Goes over the graph until nothing more can run. Returns a damaged object when the run has to start over.
    pub(super) async fn attempt(&mut self) -> Result<Option<String>, RunError> {
        let scene = self.scene;
        let mut running: Running<'a> = FuturesUnordered::new();
        let mut underway: BTreeMap<&str, Resource> = BTreeMap::new();
        let mut keys: HashSet<StepKey> = HashSet::new();
        let mut corrupt = None;
        loop {
            for node in scene.pipeline.stages.stages() {
                if self.settled.contains_key(&node.name) || underway.contains_key(node.name.as_str()) {
                    continue;
                }
                let ending = corrupt.is_some() || self.is_ending();
                let Some((key, inputs, reasons)) = self.consider(node)? else { continue };
                let accelerator = node.kind.resource == Resource::Accelerator;
                let taken = accelerator && underway.values().any(|resource| *resource == Resource::Accelerator);
                // Copies of a stage may turn out to be one step: the first does it, the others find its result.
                if ending || taken || running.len() >= scene.workshop.options.jobs || keys.contains(&key) {
                    continue;
                }
                match self.feeds(node) {
                    Ok(feeds) => {
                        underway.insert(&node.name, node.kind.resource);
                        keys.insert(key);
                        scene.tell(&RunEvent::Started { stage: node.name.clone(), key, reasons: reasons.clone() });
                        let step = ReadyStep { node, key, inputs, feeds };
                        running.push(carry_out(scene, step, reasons));
                    }
                    Err(error) => {
                        let end = source_failure(&error).into();
                        self.end(Underway { node, key, reasons }, end);
                    }
                }
            }
            let Some((step, end)) = running.next().await else { break };
            underway.remove(step.node.name.as_str());
            keys.remove(&step.key);
            if let StepEnd::CorruptInput { object } = end {
                corrupt = Some(object);
            } else {
                self.end(step, end);
            }
        }
        Ok(corrupt)
    }

    /// After damage was found, only what ran in this run is certain; the rest is looked up anew.
    pub(super) fn forget_unfinished(&mut self) {
        self.settled.retain(|_, report| matches!(report.state, StageState::Ran | StageState::Failed));
        let settled = &self.settled;
        self.outputs.retain(|stage, _| settled.contains_key(stage));
    }

    /// Settles a stage that need not or cannot run; returns key, inputs and reasons of one that must.
    #[expect(clippy::type_complexity, reason = "the triple exists only between here and its one caller")]
    fn consider(
        &mut self,
        node: &'a StageNode,
    ) -> Result<Option<(StepKey, BTreeMap<String, Digest>, Vec<Reason>)>, RunError> {
        let blockers = self.blockers(node);
        if !blockers.is_empty() {
            // Nobody asked for it, or nobody waits for it any more: that is no failure.
            if !self.selected.contains(&node.name) || *self.scene.interrupt.borrow() {
                self.settle(blank(node, StageState::Skipped));
                return Ok(None);
            }
            self.scene.tell(&RunEvent::Blocked { stage: node.name.clone(), by: blockers });
            self.settle(blank(node, StageState::Blocked));
            return Ok(None);
        }
        let Some(inputs) = self.input_digests(node) else { return Ok(None) };
        match self.planner.decide(node, inputs)? {
            Decision::Reuse(manifest) => {
                let (stage, key, created) = (node.name.clone(), manifest.key, manifest.created);
                let log = manifest.log.as_ref().and_then(|tree| self.file_of(tree));
                self.scene.tell(&RunEvent::Cached { stage, key, created, log });
                self.finish(node, *manifest, StageState::Cached, &[]);
                Ok(None)
            }
            Decision::Unable(error) => {
                if self.selected.contains(&node.name) {
                    self.scene.tell(&RunEvent::Failed { stage: node.name.clone(), error: error.clone(), log: None });
                    self.settle(StageReport { error: Some(error), ..blank(node, StageState::Failed) });
                } else {
                    self.settle(blank(node, StageState::Skipped));
                }
                Ok(None)
            }
            Decision::Run { key, reasons, .. } if !self.selected.contains(&node.name) => {
                self.settle(StageReport { key: Some(key), ..with_reasons(blank(node, StageState::Skipped), &reasons) });
                Ok(None)
            }
            Decision::Run { key, inputs, reasons } => Ok(Some((key, inputs, reasons))),
        }
    }

    /// Whether no further step may start.
    fn is_ending(&self) -> bool {
        *self.scene.interrupt.borrow()
            || (!self.scene.workshop.options.keep_going
                && self.settled.values().any(|report| report.state == StageState::Failed))
    }

    /// The stages this one needs that ended without a result.
    fn blockers(&self, node: &StageNode) -> Vec<String> {
        let mut blockers: Vec<String> = stages_read(node)
            .filter(|stage| self.settled.contains_key(*stage) && !self.outputs.contains_key(*stage))
            .map(ToOwned::to_owned)
            .collect();
        blockers.dedup();
        blockers
    }

    /// The content of every input, once all are known.
    fn input_digests(&self, node: &StageNode) -> Option<BTreeMap<String, Digest>> {
        let digest = |input: &InputRef| match input {
            InputRef::Source(source) => self.sources.digest(source),
            InputRef::Output { .. } | InputRef::Many { .. } => {
                content(input, |stage, port| Some(self.outputs.get(stage)?.get(port)?.digest))
            }
        };
        node.inputs.iter().map(|(port, input)| Some((port.clone(), digest(input)?))).collect()
    }

    /// Where the step reads its inputs; sources that are not here yet are fetched.
    fn feeds(&mut self, node: &StageNode) -> Result<BTreeMap<String, Feed>, SourceError> {
        let mut feeds = BTreeMap::new();
        let stored = |own: &Self, stage: &str, port: &str| own.outputs.get(stage)?.get(port).cloned();
        for (port, input) in &node.inputs {
            let feed = match input {
                InputRef::Source(source) => {
                    if self.sources.path(source).is_none() {
                        self.fetch(source)?;
                    }
                    self.sources.path(source).map(|path| Feed::Outside(path.to_owned()))
                }
                InputRef::Output { stage, port } => stored(self, stage, port).map(Feed::Stored),
                InputRef::Many { parts, .. } => {
                    let entry = |part: &Part| Some((part.name.clone(), stored(self, &part.stage, &part.port)?));
                    parts.iter().map(entry).collect::<Option<Vec<_>>>().map(Feed::Collected)
                }
            };
            feeds.extend(feed.map(|feed| (port.clone(), feed)));
        }
        Ok(feeds)
    }

    fn fetch(&mut self, name: &str) -> Result<(), SourceError> {
        let Some(uri) = self.sources.uri(name).filter(|uri| !matches!(uri, SourceUri::Path(_))) else {
            return Ok(());
        };
        let (scene, store, lock) = (self.scene, self.scene.workshop.store, self.scene.workshop.lock);
        tokio::task::block_in_place(|| {
            let fetched = scene
                .fetcher
                .resolve(&uri, &mut |progress| {
                    scene.tell(&RunEvent::Fetching { source: name.into(), done: progress.done, total: progress.total });
                })
                .map_err(|error| SourceError::Fetch { name: name.to_owned(), error })?;
            self.sources.arrived(name, fetched, store, lock)
        })
    }

    fn end(&mut self, step: Underway<'a>, end: StepEnd) {
        let Underway { node, key, reasons } = step;
        let Failure { error, log, peak_memory, warnings } = match end {
            StepEnd::Committed { manifest, log } => {
                self.scene.tell(&RunEvent::Finished {
                    stage: node.name.clone(),
                    key,
                    seconds: manifest.seconds,
                    peak_memory: manifest.peak_memory,
                    log,
                });
                return self.finish(node, *manifest, StageState::Ran, &reasons);
            }
            StepEnd::Failed(failure) => failure,
            StepEnd::Interrupted | StepEnd::CorruptInput { .. } => {
                return self.settle(StageReport {
                    key: Some(key),
                    ..with_reasons(blank(node, StageState::Skipped), &reasons)
                });
            }
        };
        self.scene.tell(&RunEvent::Failed { stage: node.name.clone(), error: error.clone(), log });
        self.settle(StageReport {
            key: Some(key),
            peak_memory: Some(peak_memory),
            warnings,
            error: Some(error),
            ..with_reasons(blank(node, StageState::Failed), &reasons)
        });
    }

    fn finish(&mut self, node: &StageNode, manifest: Manifest, state: StageState, reasons: &[Reason]) {
        let outputs = manifest
            .outputs
            .iter()
            .map(|(port, tree)| (port.clone(), OutputReport { digest: tree.digest, bytes: tree.bytes, path: None }));
        let scores = scores(self.scene.workshop.store, manifest.outputs.values());
        self.settle(StageReport {
            created: Some(manifest.created),
            key: Some(manifest.key),
            scores,
            seconds: Some(manifest.seconds),
            peak_memory: Some(manifest.peak_memory),
            outputs: outputs.collect(),
            warnings: manifest.warnings,
            log: manifest.log.as_ref().and_then(|tree| self.file_of(tree)),
            facts: manifest.facts,
            ..with_reasons(blank(node, state), reasons)
        });
        self.outputs.insert(node.name.clone(), manifest.outputs);
    }

    /// The file in the store that holds an artifact of one file.
    fn file_of(&self, tree: &Tree) -> Option<PathBuf> {
        match &tree.content {
            Content::File(object) => Some(self.scene.workshop.store.object_path(object)),
            Content::Folder(_) => None,
        }
    }

    fn settle(&mut self, report: StageReport) {
        self.settled.insert(report.name.clone(), report);
    }

    /// Keeps a sketch of each source that a step read in this run, so that a later one can say what changed in it.
    ///
    /// A run in which nothing had to run looks at none.
    pub(super) fn sketch_sources(&self) {
        let (store, lock) = (self.scene.workshop.store, self.scene.workshop.lock);
        let ran = |node: &&StageNode| {
            let report = self.settled.get(&node.name);
            report.is_some_and(|report| matches!(report.state, StageState::Ran | StageState::Failed))
        };
        let read = self.scene.pipeline.stages.stages().filter(ran).flat_map(|node| node.inputs.values());
        let names: BTreeSet<&str> = read.filter_map(InputRef::source).collect();
        for name in names {
            let (Some(path), Some(digest)) = (self.sources.path(name), self.sources.digest(name)) else { continue };
            let sketch = || {
                let tree = store.measure(path, Some(lock)).ok().filter(|tree| tree.digest == digest)?;
                Sketch::of(path, &tree)
            };
            // Without it, a later explanation tells less; the disk that is full for it is full for what comes next.
            let _ = Sketch::keep(store, digest, sketch);
        }
    }

    /// Settles what is left as skipped and sums the run up.
    pub(super) fn report(&mut self, started: jiff::Timestamp) -> RunReport {
        let (pipeline, run) = (self.scene.pipeline, &self.scene.workshop.run);
        let stages: Vec<StageReport> = pipeline
            .stages
            .stages()
            .map(|node| self.settled.get(&node.name).cloned().unwrap_or_else(|| blank(node, StageState::Skipped)))
            .collect();
        let failed = stages.iter().any(|stage| matches!(stage.state, StageState::Failed | StageState::Blocked));
        let status = match (*self.scene.interrupt.borrow(), failed) {
            (true, _) => RunStatus::Interrupted,
            (false, true) => RunStatus::Failed,
            (false, false) => RunStatus::Ok,
        };
        RunReport {
            run: run.clone(),
            pipeline: pipeline.name.clone(),
            status,
            started,
            seconds: 0.0,
            stages,
            exported: BTreeMap::new(),
            sources: self
                .sources
                .known()
                .map(|(name, from, digest)| (name.to_owned(), SourceReport { from: from.to_string(), digest }))
                .collect(),
            variant: None,
            sweep: Vec::new(),
        }
    }

    /// Copies the pipeline's `outputs` to where the user wants them.
    pub(super) fn export(&self, report: &mut RunReport) -> Result<(), RunError> {
        let pipeline = self.scene.pipeline;
        for export in &pipeline.outputs {
            let InputRef::Output { stage, port } = &export.from else { continue };
            let Some(tree) = self.outputs.get(stage).and_then(|ports| ports.get(port)) else { continue };
            let to: PathBuf = pipeline.folder.join(&export.to);
            let (store, lock) = (self.scene.workshop.store, self.scene.workshop.lock);
            let written = store.export(tree, &to, Some(lock))? == Exported::Written;
            self.scene.tell(&RunEvent::Exported {
                to: export.to.display().to_string(),
                from: export.from.to_string(),
                written,
            });
            report.exported.insert(export.to.display().to_string(), export.from.to_string());
            let output = report
                .stages
                .iter_mut()
                .find(|report| report.name == *stage)
                .and_then(|report| report.outputs.get_mut(port));
            if let Some(output) = output {
                output.path = Some(to);
            }
        }
        Ok(())
    }
}

/// Runs a step and passes its events on.
fn carry_out<'a>(
    scene: &'a Scene<'a>,
    step: ReadyStep<'a>,
    reasons: Vec<Reason>,
) -> LocalBoxFuture<'a, (Underway<'a>, StepEnd)> {
    Box::pin(async move {
        let stage = step.node.name.clone();
        let pass_on = |event: &Event| {
            let stage = stage.clone();
            match event.clone() {
                Event::Progress(progress) => scene.tell(&RunEvent::Progress { stage, progress }),
                Event::Warning { message } => scene.tell(&RunEvent::Warning { stage: Some(stage), message }),
                Event::Fact { name, value } => scene.tell(&RunEvent::Fact { stage, name, value }),
                Event::Done { .. } | Event::Failed { .. } => {}
            }
        };
        let end = scene.workshop.carry_out(&step, scene.interrupt.clone(), pass_on).await;
        (Underway { node: step.node, key: step.key, reasons }, end)
    })
}

fn stages_read(node: &StageNode) -> impl Iterator<Item = &str> {
    node.inputs.values().flat_map(InputRef::outputs).map(|(stage, _)| stage)
}

fn blank(node: &StageNode, state: StageState) -> StageReport {
    StageReport {
        name: node.name.clone(),
        kind: node.kind.name.to_owned(),
        state,
        created: None,
        key: None,
        reason: None,
        reasons: Vec::new(),
        seconds: None,
        peak_memory: None,
        outputs: BTreeMap::new(),
        warnings: Vec::new(),
        log: None,
        facts: BTreeMap::new(),
        scores: serde_json::Map::new(),
        error: None,
    }
}

fn with_reasons(report: StageReport, reasons: &[Reason]) -> StageReport {
    let reason = (!reasons.is_empty()).then(|| sentence(reasons));
    StageReport { reason, reasons: reasons.to_vec(), ..report }
}

fn source_failure(error: &SourceError) -> StageError {
    let mut made = StageError::new("source::unavailable", error.to_string());
    if let Some(cause) = std::error::Error::source(error) {
        made = made.caused_by(cause);
    }
    made.help = way_out(error).map(|help| help.to_string());
    made
}

fn way_out<'e>(error: &'e SourceError) -> Option<Box<dyn std::fmt::Display + 'e>> {
    use miette::Diagnostic;
    error.help().or_else(|| error.diagnostic_source()?.help())
}
