//! One step from its inputs to its committed result.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use refit_cache::{Manifest, RunId, StepKey, Store, StoreError, StoreLock, Tree};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    graph::{StageNode, file_name},
    run::RunOptions,
    stage::{Event, StageError},
    worker::{Outcome, StepOrder, Worker},
};

/// Where the input of a port comes from.
#[derive(Debug, Clone)]
pub(super) enum Feed {
    /// Files outside the store, read where they lie.
    Outside(PathBuf),
    /// An artifact in the store, laid out read-only in the step's folder.
    Stored(Tree),
    /// Several of them by name, laid out as the entries of one folder.
    Collected(Vec<(String, Tree)>),
}

/// A step ready to be carried out.
pub(super) struct ReadyStep<'a> {
    pub(super) node: &'a StageNode,
    pub(super) key: StepKey,
    pub(super) inputs: BTreeMap<String, refit_cache::Digest>,
    pub(super) feeds: BTreeMap<String, Feed>,
}

/// How a step ended.
pub(super) enum StepEnd {
    /// Its result is in the store.
    Committed(Box<Manifest>),
    /// It failed.
    Failed { error: StageError, log: Option<PathBuf>, peak_memory: u64, warnings: Vec<String> },
    /// An input in the store turned out to be damaged and was set aside.
    CorruptInput { object: String },
    /// The run was interrupted.
    Interrupted,
}

/// What the engine's side of a step needs.
pub(super) struct Workshop<'a> {
    pub(super) store: &'a Store,
    pub(super) lock: &'a StoreLock,
    pub(super) options: &'a RunOptions,
    pub(super) run: RunId,
}

impl Workshop<'_> {
    /// Carries a step out: inputs, worker, commit. Nothing is left behind but the step's scratch, and that only on failure.
    pub(super) async fn carry_out(
        &self,
        step: &ReadyStep<'_>,
        mut interrupted: watch::Receiver<bool>,
        mut on_event: impl FnMut(&Event),
    ) -> StepEnd {
        let started = Instant::now();
        let run_folder = self.store.run_folder(&self.run);
        let plan = run_folder.join("plan.json");
        let log = run_folder.join("steps").join(file_name(&step.node.name)).join("stderr.log");
        let folder = self.store.step_folder(&step.key);
        let failed = |error| StepEnd::Failed { error, log: None, peak_memory: 0, warnings: Vec::new() };
        match tokio::task::block_in_place(|| self.prepare(step, &folder, &plan)) {
            Ok(None) => {}
            Ok(Some(object)) => return StepEnd::CorruptInput { object },
            Err(error) => return failed(error),
        }
        let mut worker = match Worker::spawn(&self.options.worker, &plan, &step.node.name, log.clone()) {
            Ok(worker) => worker,
            Err(error) => return failed(error),
        };
        let (mut warnings, mut facts) = (Vec::new(), BTreeMap::<String, Value>::new());
        let watched = {
            let watching = worker.watch(|event| {
                on_event(&event);
                match event {
                    Event::Warning { message } => warnings.push(message),
                    Event::Fact { name, value } => {
                        facts.insert(name, value);
                    }
                    _ => {}
                }
            });
            tokio::select! {
                outcome = watching => Some(outcome),
                _ = interrupted.wait_for(|interrupted| *interrupted) => None,
            }
        };
        let Some(Outcome { result, peak_memory }) = watched else {
            worker.stop().await;
            return StepEnd::Interrupted;
        };
        if let Err(error) = result {
            return StepEnd::Failed { error, log: Some(log), peak_memory, warnings };
        }
        let ingested =
            tokio::task::block_in_place(|| self.check_sources(step).and_then(|()| self.ingest(step, &folder)));
        let outputs = match ingested {
            Ok(outputs) => outputs,
            Err(error) => return StepEnd::Failed { error, log: Some(log), peak_memory, warnings },
        };
        let manifest = Manifest {
            format: refit_cache::MANIFEST_FORMAT,
            key: step.key,
            kind: step.node.kind.name.into(),
            version: step.node.kind.version,
            params: step.node.with.clone(),
            inputs: step.inputs.clone(),
            outputs,
            facts,
            warnings,
            seconds: started.elapsed().as_secs_f64(),
            peak_memory,
            created: jiff::Timestamp::now(),
            run: self.run.clone(),
        };
        let committed = tokio::task::block_in_place(|| self.store.commit(self.lock, &manifest));
        match committed {
            Ok(()) => {
                // A folder that stays costs space until the next `gc`, nothing else.
                let _ = fs_err::remove_dir_all(&folder);
                StepEnd::Committed(Box::new(manifest))
            }
            Err(error) => failed(in_store(&error)),
        }
    }

    /// Lays the inputs out and writes the order. Returns the object that turned out to be damaged, if one did.
    fn prepare(&self, step: &ReadyStep<'_>, folder: &Path, plan: &Path) -> Result<Option<String>, StageError> {
        fs_err::create_dir_all(folder)?;
        // A worker whose engine was killed ends by itself; until then its folder is not touched.
        let mut orphan = fd_lock::RwLock::new(fs_err::File::create(StepOrder::lock_file(folder))?);
        let _alone = orphan.write()?;
        for stale in [StepOrder::inputs_folder(folder), StepOrder::outputs_folder(folder)] {
            if stale.exists() {
                fs_err::remove_dir_all(&stale)?;
            }
            fs_err::create_dir_all(&stale)?;
        }
        fs_err::create_dir_all(StepOrder::scratch_folder(folder))?;
        let mut inputs = BTreeMap::new();
        for (port, feed) in &step.feeds {
            let path = match feed {
                Feed::Outside(path) => path.clone(),
                Feed::Stored(_) | Feed::Collected(_) => {
                    let path = StepOrder::inputs_folder(folder).join(port);
                    match self.lay_out(feed, &path) {
                        Ok(()) => path,
                        Err(error @ (StoreError::Corrupt { .. } | StoreError::MissingObject { .. })) => {
                            return Ok(Some(error.to_string()));
                        }
                        Err(error) => return Err(in_store(&error)),
                    }
                }
            };
            inputs.insert(port.clone(), path);
        }
        let order = StepOrder {
            stage: step.node.name.clone(),
            kind: step.node.kind.name.into(),
            with: step.node.with.clone(),
            inputs,
            folder: folder.to_owned(),
            settings: self.options.settings.clone(),
        };
        let path = StepOrder::path(plan, &step.node.name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, serde_json::to_vec_pretty(&order).map_err(std::io::Error::from)?)?;
        Ok(None)
    }

    fn lay_out(&self, feed: &Feed, to: &Path) -> Result<(), StoreError> {
        match feed {
            Feed::Outside(_) => Ok(()),
            Feed::Stored(tree) => self.store.hydrate(tree, to),
            Feed::Collected(trees) => {
                trees.iter().try_for_each(|(name, tree)| self.store.hydrate(tree, &to.join(name)))
            }
        }
    }

    /// A result made while someone edited its input belongs to neither the old content nor the new: it is not kept.
    fn check_sources(&self, step: &ReadyStep<'_>) -> Result<(), StageError> {
        for (port, feed) in &step.feeds {
            let (Feed::Outside(path), Some(digest)) = (feed, step.inputs.get(port)) else { continue };
            let found = self.store.measure(path, Some(self.lock)).map_err(|error| in_store(&error))?;
            if found.digest != *digest {
                return Err(StageError::new("engine::input_changed", "the input was changed while the stage read it")
                    .at(path)
                    .help("the result was not kept; run again"));
            }
        }
        Ok(())
    }

    fn ingest(&self, step: &ReadyStep<'_>, folder: &Path) -> Result<BTreeMap<String, Tree>, StageError> {
        let outputs = StepOrder::outputs_folder(folder);
        let mut trees = BTreeMap::new();
        for port in step.node.kind.outputs {
            let path = outputs.join(port.name);
            if !path.exists() {
                return Err(StageError::new(
                    "engine::missing_output",
                    format!("the stage ended well but did not write its output `{}`", port.name),
                )
                .help("this is a defect in refit; please report it"));
            }
            let tree = self.store.ingest(self.lock, &path).map_err(|error| in_store(&error))?;
            trees.insert(port.name.to_owned(), tree);
        }
        Ok(trees)
    }
}

/// A failure of the store while a step is carried out.
fn in_store(error: &StoreError) -> StageError {
    let mut made = StageError::new("cache::failed", "the store could not take or give an artifact").caused_by(error);
    made.help = miette::Diagnostic::help(error).map(|help| help.to_string());
    made
}
