//! The state of a run: what is settled, with which result, and what follows for a stage whose inputs are.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    time::Duration,
};

use indexmap::IndexMap;
use refit_cache::{Digest, Exported, Manifest, StepKey, StoreError, Tree};

use super::{
    Halt, OutputReport, RunError, RunEvent, RunReport, RunStatus, SourceReport, StageReport, StageState, Verdict,
    executor::Scene,
    scores::scores,
    step::{Failure, Feed},
};
use crate::{
    explain::Sketch,
    graph::{InputRef, Part, SourceUri, StageNode},
    plan::{Decision, Planner, Reason, SourceError, Sources, content, sentence},
    program::in_store,
    schedule::StepId,
    stage::StageError,
};

/// A run under way. Only the run's own task changes it, so no lock guards it.
pub(super) struct Session<'a> {
    pub(super) scene: &'a Scene<'a>,
    sources: Sources,
    planner: Planner<'a>,
    /// By place in the graph's order, as are all lists here.
    nodes: Vec<&'a StageNode>,
    selected: Vec<bool>,
    settled: Vec<Option<Box<StageReport>>>,
    outputs: Vec<Option<IndexMap<String, Tree>>>,
    /// Results that came from other machines in this run.
    pulled: HashSet<StepKey>,
    has_failed: bool,
}

/// What is known of a step that must run.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) key: StepKey,
    pub(super) inputs: BTreeMap<String, Digest>,
    pub(super) reasons: Vec<Reason>,
    /// Which try it is, from 1.
    pub(super) attempt: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(scene: &'a Scene<'a>, selected: &BTreeSet<String>) -> Result<Self, RunError> {
        let (pipeline, workshop) = (scene.pipeline, &scene.workshop);
        let nodes: Vec<&StageNode> = pipeline.stages.stages().collect();
        Ok(Self {
            scene,
            sources: Sources::look(pipeline, workshop.store, Some(workshop.lock), scene.fetcher)?,
            planner: Planner::new(
                workshop.store,
                &pipeline.name,
                workshop.options.force.clone(),
                &workshop.surroundings,
            ),
            selected: nodes.iter().map(|node| selected.contains(&node.name)).collect(),
            settled: vec![None; nodes.len()],
            outputs: vec![None; nodes.len()],
            pulled: HashSet::new(),
            nodes,
            has_failed: false,
        })
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn node(&self, step: StepId) -> &'a StageNode {
        self.nodes[step]
    }

    pub(super) fn is_settled(&self, step: StepId) -> bool {
        self.settled[step].is_some()
    }

    /// Whether others may go on with what it made.
    pub(super) fn has_result(&self, step: StepId) -> bool {
        self.outputs[step].is_some() && !self.settled[step].as_deref().is_some_and(has_failed)
    }

    pub(super) fn is_selected(&self, step: StepId) -> bool {
        self.selected[step]
    }

    /// The stages that have a result in the store and are declared to make the same bytes every time, by the key of their
    /// step: several may share one.
    pub(super) fn repeatable(&self) -> BTreeMap<StepKey, Vec<StepId>> {
        let with_result = |step: &StepId| {
            let node = self.nodes[*step];
            self.selected[*step] && node.cache && node.terms.deterministic && self.has_result(*step)
        };
        let mut repeatable: BTreeMap<StepKey, Vec<StepId>> = BTreeMap::new();
        for step in (0..self.nodes.len()).filter(with_result) {
            if let Some(key) = self.settled[step].as_ref().and_then(|report| report.key) {
                repeatable.entry(key).or_default().push(step);
            }
        }
        repeatable
    }

    /// Notes what became of a stage whose step was carried out once more.
    pub(super) fn verified(&mut self, step: StepId, verdict: Verdict) {
        if let Some(report) = &mut self.settled[step] {
            report.verdict = Some(verdict);
        }
    }

    /// What the stage took the last time it ran.
    pub(super) fn took(&self, step: StepId) -> Option<Duration> {
        let seconds = self.planner.last_seconds(&self.nodes[step].name)?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Whether no further step may start.
    pub(super) fn is_ending(&self) -> bool {
        self.scene.is_halted() || (self.has_failed && !self.scene.workshop.options.keep_going)
    }

    /// Fetches what no plan can be made without: sources whose content nobody has written down yet.
    pub(super) fn fetch_unknown(&mut self) -> Result<(), RunError> {
        let selected = self.nodes.iter().zip(&self.selected).filter(|(_, selected)| **selected);
        let unknown: Vec<String> = selected
            .flat_map(|(node, _)| node.inputs.values())
            .filter_map(InputRef::source)
            .filter(|source| self.sources.digest(source).is_none() || self.sources.unreadable(source).is_some())
            .map(ToOwned::to_owned)
            .collect();
        let workshop = &self.scene.workshop;
        for source in unknown {
            if self.sources.unreadable(&source).is_some() {
                // Else it fails the stages that read it, and no others.
                if !workshop.options.keep_going {
                    self.sources.insist(&source, (workshop.store, workshop.lock), self.scene.fetcher)?;
                }
            } else if self.sources.digest(&source).is_none() {
                // Several stages may read the same source.
                self.fetch(&source)?;
            }
        }
        Ok(())
    }

    /// Whether no step was carried out so far.
    pub(super) fn is_untouched(&self) -> bool {
        !self.settled.iter().flatten().any(|report| was_carried_out(report))
    }

    /// After damage was found, only what ran in this run is certain; the rest is looked up anew.
    pub(super) fn forget_unfinished(&mut self) {
        for (report, outputs) in self.settled.iter_mut().zip(&mut self.outputs) {
            if !report.as_deref().is_some_and(was_carried_out) {
                (*report, *outputs) = (None, None);
            }
        }
    }

    /// Settles a stage that need not or cannot run; returns what is known of one that must.
    pub(super) fn consider(&mut self, step: StepId) -> Result<Option<Work>, RunError> {
        let (node, selected) = (self.nodes[step], self.selected[step]);
        let blockers = self.blockers(node);
        if !blockers.is_empty() {
            // Nobody asked for it, or nobody waits for it any more: that is no failure.
            if !selected || self.scene.is_halted() {
                self.settle(step, blank(node, StageState::Skipped));
                return Ok(None);
            }
            self.scene.tell(&RunEvent::Blocked { stage: node.name.clone(), by: blockers });
            self.settle(step, blank(node, StageState::Blocked));
            return Ok(None);
        }
        let unreadable =
            node.inputs.values().filter_map(InputRef::source).find_map(|name| self.sources.unreadable(name));
        if let Some(error) = unreadable {
            if selected {
                let failure = Failure::early(error.clone());
                self.fail(step, blank(node, StageState::Failed), failure);
            } else {
                self.settle(step, blank(node, StageState::Skipped));
            }
            return Ok(None);
        }
        let Some(inputs) = self.input_digests(node) else {
            // Only a source that could not be fetched is not known by now, and only stages not selected need it.
            self.settle(step, blank(node, StageState::Skipped));
            return Ok(None);
        };
        match self.planner.decide(node, inputs)? {
            Decision::Reuse(manifest) => {
                let (stage, key, created) = (node.name.clone(), manifest.key, manifest.created);
                let log = manifest.log.as_ref().and_then(|tree| self.file_of(tree));
                let remote = self.pulled.contains(&key);
                self.scene.tell(&RunEvent::Cached { stage, key, created, log, remote });
                self.finish(step, *manifest, StageState::Cached, &[], 0);
                Ok(None)
            }
            Decision::Unable(_) if !selected => {
                self.settle(step, blank(node, StageState::Skipped));
                Ok(None)
            }
            Decision::Unable(error) => {
                self.fail(step, blank(node, StageState::Failed), Failure::early(error));
                Ok(None)
            }
            Decision::Run { key, reasons, .. } if !selected => {
                let report = StageReport { key: Some(key), ..with_reasons(blank(node, StageState::Skipped), &reasons) };
                self.settle(step, report);
                Ok(None)
            }
            Decision::Run { key, inputs, reasons } => Ok(Some(Work { key, inputs, reasons, attempt: 1 })),
        }
    }

    /// The stages this one needs that ended without a result.
    fn blockers(&self, node: &StageNode) -> Vec<String> {
        let without_result = |stage: &str| {
            let step = self.scene.pipeline.stages.place(stage);
            step.is_some_and(|step| self.is_settled(step) && !self.has_result(step))
        };
        let mut blockers: Vec<String> =
            stages_read(node).filter(|stage| without_result(stage)).map(ToOwned::to_owned).collect();
        blockers.dedup();
        blockers
    }

    fn output(&self, stage: &str, port: &str) -> Option<&Tree> {
        self.outputs[self.scene.pipeline.stages.place(stage)?].as_ref()?.get(port)
    }

    /// The content of every input, once all are known.
    fn input_digests(&self, node: &StageNode) -> Option<BTreeMap<String, Digest>> {
        let digest = |input: &InputRef| match input {
            InputRef::Source(source) => self.sources.digest(source),
            InputRef::Output { .. } | InputRef::Many { .. } => {
                content(input, |stage, port| Some(self.output(stage, port)?.digest))
            }
        };
        node.inputs.iter().map(|(port, input)| Some((port.clone(), digest(input)?))).collect()
    }

    /// Where the step reads its inputs; sources that are not here yet are fetched.
    pub(super) fn feeds(&mut self, step: StepId) -> Result<BTreeMap<String, Feed>, StageError> {
        let mut feeds = BTreeMap::new();
        for (port, input) in &self.nodes[step].inputs {
            let feed = match input {
                InputRef::Source(source) => {
                    if self.sources.path(source).is_none() {
                        self.fetch(source).map_err(|error| error.as_failure())?;
                    }
                    self.sources.path(source).map(|path| Feed::Outside(path.to_owned()))
                }
                InputRef::Output { stage, port } => self.output(stage, port).cloned().map(Feed::Stored),
                InputRef::Many { parts, .. } => {
                    let entry = |part: &Part| Some((part.name.clone(), self.output(&part.stage, &part.port).cloned()?));
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

    /// A result came from another machine: it is in the store now.
    pub(super) fn arrived(&mut self, key: StepKey) {
        self.pulled.insert(key);
    }

    /// Settles a step that ended well. Nobody is told before its result is durable.
    pub(super) fn made(&mut self, step: StepId, work: &Work, manifest: &Manifest) {
        self.finish(step, manifest.clone(), StageState::Ran, &work.reasons, work.attempt);
    }

    /// The result of a step is durable.
    pub(super) fn committed(&mut self, step: StepId, manifest: &Manifest, log: Option<PathBuf>) {
        if let Some(remote) = &self.scene.workshop.options.remote {
            remote.push(self.scene.workshop.store, manifest);
        }
        self.scene.tell(&RunEvent::Finished {
            stage: self.nodes[step].name.clone(),
            key: manifest.key,
            seconds: manifest.seconds,
            peak_memory: manifest.peak_memory,
            log,
        });
    }

    /// The result of a step could not be made durable. What went on with it may come to its end: its inputs are in its key.
    pub(super) fn lost(&mut self, step: StepId, error: &StoreError, log: Option<PathBuf>) {
        let node = self.nodes[step];
        let report = self.settled[step].take().map_or_else(|| blank(node, StageState::Failed), |report| *report);
        let failure = Failure {
            error: in_store(error),
            log,
            peak_memory: report.peak_memory.unwrap_or_default(),
            warnings: report.warnings.clone(),
        };
        let (key, attempts) = (report.key, report.attempts);
        let report = with_reasons(blank(node, StageState::Failed), &report.reasons);
        self.fail(step, StageReport { key, attempts, ..report }, failure);
    }

    /// Settles a step that made nothing: it failed, or nobody waits for it any more.
    pub(super) fn end(&mut self, step: StepId, work: Work, failure: Option<Failure>) {
        let (node, Work { key, reasons, attempt, .. }) = (self.nodes[step], work);
        let Some(failure) = failure else {
            let report = StageReport { key: Some(key), ..with_reasons(blank(node, StageState::Skipped), &reasons) };
            return self.settle(step, report);
        };
        let report = StageReport {
            key: Some(key),
            attempts: attempt,
            ..with_reasons(blank(node, StageState::Failed), &reasons)
        };
        self.fail(step, report, failure);
    }

    fn fail(&mut self, step: StepId, report: StageReport, failure: Failure) {
        let Failure { error, log, peak_memory, warnings } = failure;
        self.scene.tell(&RunEvent::Failed { stage: report.name.clone(), error: error.clone(), log: log.clone() });
        self.has_failed = true;
        self.settle(
            step,
            StageReport { peak_memory: Some(peak_memory), warnings, error: Some(Box::new(error)), log, ..report },
        );
    }

    fn finish(&mut self, step: StepId, manifest: Manifest, state: StageState, reasons: &[Reason], attempts: u32) {
        let outputs = manifest
            .outputs
            .iter()
            .map(|(port, tree)| (port.clone(), OutputReport { digest: tree.digest, bytes: tree.bytes, path: None }));
        let scores = scores(self.scene.workshop.store, &manifest.outputs);
        let report = StageReport {
            created: Some(manifest.created),
            key: Some(manifest.key),
            scores,
            seconds: Some(manifest.seconds),
            peak_memory: Some(manifest.peak_memory),
            outputs: outputs.collect(),
            warnings: manifest.warnings,
            log: manifest.log.as_ref().and_then(|tree| self.file_of(tree)),
            facts: manifest.facts,
            attempts,
            ..with_reasons(blank(self.nodes[step], state), reasons)
        };
        self.settle(step, report);
        self.outputs[step] = Some(manifest.outputs.into_iter().collect());
    }

    /// The file in the store that holds an artifact of one file.
    fn file_of(&self, tree: &Tree) -> Option<PathBuf> {
        tree.content.object().map(|object| self.scene.workshop.store.object_path(&object))
    }

    fn settle(&mut self, step: StepId, report: StageReport) {
        self.settled[step] = Some(Box::new(report));
    }

    /// Keeps a sketch of each source that a step read in this run, so that a later one can say what changed in it.
    ///
    /// A run in which nothing had to run looks at none.
    pub(super) fn sketch_sources(&self) {
        let (store, lock) = (self.scene.workshop.store, self.scene.workshop.lock);
        let ran =
            self.nodes.iter().zip(&self.settled).filter(|(_, report)| report.as_deref().is_some_and(was_carried_out));
        let names: BTreeSet<&str> =
            ran.flat_map(|(node, _)| node.inputs.values()).filter_map(InputRef::source).collect();
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

    /// What every settled stage with a result made: stage → port → artifact.
    pub(super) fn outputs(&self) -> BTreeMap<&str, &IndexMap<String, Tree>> {
        let made = self.nodes.iter().zip(&self.outputs);
        made.filter_map(|(node, outputs)| Some((node.name.as_str(), outputs.as_ref()?))).collect()
    }

    /// Sums the run up; what is not settled by now was skipped.
    pub(super) fn report(&mut self, started: jiff::Timestamp) -> RunReport {
        let settled = std::mem::take(&mut self.settled);
        let stages: Vec<StageReport> = settled
            .into_iter()
            .zip(&self.nodes)
            .map(|(report, node)| report.map_or_else(|| blank(node, StageState::Skipped), |report| *report))
            .collect();
        let failed = stages.iter().any(|stage| matches!(stage.state, StageState::Failed | StageState::Blocked));
        let cut_short = || {
            let left = |(stage, selected): (&StageReport, &bool)| *selected && stage.state == StageState::Skipped;
            stages.iter().zip(&self.selected).any(left)
        };
        let status = match self.scene.halt() {
            Halt::Stop => RunStatus::Interrupted,
            Halt::Drain if cut_short() => RunStatus::Interrupted,
            Halt::Drain | Halt::None if failed => RunStatus::Failed,
            Halt::Drain | Halt::None => RunStatus::Ok,
        };
        RunReport {
            run: self.scene.workshop.run.clone(),
            pipeline: self.scene.pipeline.name.clone(),
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
            let Some(tree) = self.output(stage, port) else { continue };
            let to: PathBuf = pipeline.folder.join(&export.to);
            let (store, lock) = (self.scene.workshop.store, self.scene.workshop.lock);
            let written = store.export(tree, &to, Some(lock))? == Exported::Written;
            self.scene.tell(&RunEvent::Exported {
                to: export.to.display().to_string(),
                from: export.from.to_string(),
                written,
            });
            report.exported.insert(export.to.display().to_string(), export.from.to_string());
            let output =
                pipeline.stages.place(stage).and_then(|step| report.stages.get_mut(step)?.outputs.get_mut(port));
            if let Some(output) = output {
                output.path = Some(to);
            }
        }
        Ok(())
    }
}

fn has_failed(report: &StageReport) -> bool {
    report.state == StageState::Failed
}

fn was_carried_out(report: &StageReport) -> bool {
    matches!(report.state, StageState::Ran | StageState::Failed)
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
        outputs: IndexMap::new(),
        warnings: Vec::new(),
        log: None,
        facts: BTreeMap::new(),
        scores: serde_json::Map::new(),
        attempts: 0,
        error: None,
        verdict: None,
    }
}

fn with_reasons(report: StageReport, reasons: &[Reason]) -> StageReport {
    let reason = (!reasons.is_empty()).then(|| sentence(reasons));
    StageReport { reason, reasons: reasons.to_vec(), ..report }
}
