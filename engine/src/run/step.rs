//! One step from its inputs to what it made.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use refit_cache::{Manifest, RunId, StepKey, Store, StoreError, StoreLock, Taken, Tree};
use tokio::sync::watch;

use super::process::StepProcess;
use crate::{
    graph::{StageNode, file_name},
    plan::{Surroundings, files},
    program::{ProgramFolder, RunningProgram, SpareFolders, Warden, in_store},
    run::{Halt, RunOptions},
    stage::{Event, Foreseen, MemoryPlace, Outlook, ProgramContext, Settings, StageError, Work},
    worker::{Outcome, StepOrder, Worker, available_memory},
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
    pub(super) settings: Settings,
    /// Whether its result is there already, and it is only to be seen whether it makes the same bytes once more.
    pub(super) again: bool,
}

/// What a step made, in the store but not committed yet.
pub(super) struct Uncommitted {
    pub(super) manifest: Box<Manifest>,
    /// What has become of its outputs and its log.
    pub(super) outputs: Vec<Taken>,
    /// What it said, in full.
    pub(super) log: Option<PathBuf>,
}

/// How a step ended.
pub(super) enum StepEnd {
    /// It ended well.
    Made(Uncommitted),
    /// It failed.
    Failed(Failure),
    /// An input in the store turned out to be damaged and was set aside.
    CorruptInput { object: String },
    /// The run was interrupted.
    Interrupted,
}

/// How a step failed.
pub(super) struct Failure {
    pub(super) error: StageError,
    /// Its full log, if it has one.
    pub(super) log: Option<PathBuf>,
    pub(super) peak_memory: u64,
    pub(super) warnings: Vec<String>,
}

impl Failure {
    /// A failure without a worker that could tell more.
    pub(super) fn early(error: StageError) -> Self {
        Self { error, log: None, peak_memory: 0, warnings: Vec::new() }
    }
}

impl From<StageError> for StepEnd {
    fn from(error: StageError) -> Self {
        Self::Failed(Failure::early(error))
    }
}

impl From<std::io::Error> for StepEnd {
    fn from(error: std::io::Error) -> Self {
        StageError::from(error).into()
    }
}

/// What a step that is carried out once more says is kept beside what it said the first time.
const AGAIN: &str = "again";

/// What the engine's side of a step needs.
pub(super) struct Workshop<'a> {
    pub(super) store: &'a Store,
    pub(super) lock: &'a StoreLock,
    pub(super) options: &'a RunOptions,
    /// The folder of the pipeline file.
    pub(super) folder: &'a Path,
    pub(super) surroundings: Surroundings<'a>,
    pub(super) warden: Warden,
    pub(super) spares: Arc<SpareFolders>,
    pub(super) run: RunId,
}

impl Workshop<'_> {
    /// Carries a step out: inputs, process, outputs into the store.
    pub(super) async fn carry_out(
        &self,
        step: &ReadyStep<'_>,
        halt: watch::Receiver<Halt>,
        on_event: impl FnMut(&Event),
    ) -> StepEnd {
        self.make(step, halt, on_event).await.map_or_else(|end| end, StepEnd::Made)
    }

    async fn make(
        &self,
        step: &ReadyStep<'_>,
        mut halt: watch::Receiver<Halt>,
        mut on_event: impl FnMut(&Event),
    ) -> Result<Uncommitted, StepEnd> {
        let started = Instant::now();
        let (mut warnings, mut facts) = (Vec::new(), self.surroundings.facts(step.node));
        let mut settings = step.settings.clone();
        if let Some(message) = tokio::task::block_in_place(|| self.scarcity(step)) {
            on_event(&Event::Warning { message: message.clone() });
            warnings.push(message);
        }
        let mut process = tokio::task::block_in_place(|| self.start(step, &settings))?;
        let (outcome, process) = loop {
            let watched = {
                let watching = process.watch(|event| {
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
                    outcome = watching => Watched::Ended(outcome),
                    limit = past(step.node.terms.timeout) => Watched::TooLong(limit),
                    _ = halt.wait_for(|halt| *halt == Halt::Stop) => Watched::Stopped,
                }
            };
            let outcome = match watched {
                Watched::Ended(outcome) => outcome,
                Watched::TooLong(limit) => {
                    process.stop(step.node.terms.grace).await;
                    Outcome::ended(Err(too_long(limit)), 0)
                }
                Watched::Stopped => {
                    process.stop(step.node.terms.grace).await;
                    return Err(StepEnd::Interrupted);
                }
            };
            if !(outcome.out_of_memory && step.node.kind.yields) {
                break (outcome, process);
            }
            // The step itself says when it cannot do with less.
            settings.shortages += 1;
            facts.insert("shortages".into(), settings.shortages.into());
            process = tokio::task::block_in_place(|| self.start(step, &settings))?;
        };
        let Outcome { result, peak_memory, .. } = outcome;
        let log = process.log(&self.records(step))?;
        let made = result.and_then(|()| {
            tokio::task::block_in_place(|| {
                self.check_outside(step)?;
                process.results(step.node, log.as_deref(), self.store, self.lock, |message| {
                    on_event(&Event::Warning { message: message.clone() });
                    warnings.push(message);
                })
            })
        });
        let made = match made {
            Ok(made) => made,
            Err(error) => return Err(StepEnd::Failed(Failure { error, log, peak_memory, warnings })),
        };
        let tree = |taken: &Taken| taken.tree.clone();
        let manifest = Manifest {
            format: refit_cache::MANIFEST_FORMAT,
            key: step.key,
            kind: step.node.kind.name.into(),
            version: step.node.kind.version,
            params: step.node.with.clone(),
            inputs: step.inputs.clone(),
            outputs: made.outputs.iter().map(|(port, taken)| (port.clone(), tree(taken))).collect(),
            log: made.log.as_ref().map(tree),
            facts,
            warnings,
            seconds: started.elapsed().as_secs_f64(),
            peak_memory,
            created: jiff::Timestamp::now(),
            run: self.run.clone(),
        };
        let outputs = made.outputs.into_values().chain(made.log).collect();
        Ok(Uncommitted { manifest: Box::new(manifest), outputs, log })
    }

    /// What the run keeps of a stage.
    fn records(&self, step: &ReadyStep<'_>) -> PathBuf {
        let records = self.store.run_folder(&self.run).join("steps").join(file_name(&step.node.name));
        if step.again { records.join(AGAIN) } else { records }
    }

    /// Says so when a step is going to need more memory than there is.
    fn scarcity(&self, step: &ReadyStep<'_>) -> Option<String> {
        let foreseen = step.feeds.iter().filter_map(|(port, feed)| {
            let foreseen = match feed {
                Feed::Outside(path) => Foreseen::Here(path.clone()),
                Feed::Stored(tree) => Foreseen::Stored(files(tree, self.store)),
                Feed::Collected(_) => return None,
            };
            Some((port.clone(), foreseen))
        });
        // What is wrong with an input is said by the step, which reads all of it.
        let estimate = step
            .node
            .kind
            .memory(step.node.params(), &Outlook::new(foreseen.collect(), step.settings.device.as_str()))
            .ok()??;
        if estimate.place == MemoryPlace::Gpu {
            // How much of its memory a GPU has left, nobody tells.
            return None;
        }
        let available = available_memory().filter(|available| *available < estimate.bytes)?;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Some(format!(
            "on a CPU it needs about {} MiB of memory at its peak, and {} MiB are free; `refit plan --memory` shows what takes them",
            mib(estimate.bytes),
            mib(available)
        ))
    }

    fn start(&self, step: &ReadyStep<'_>, settings: &Settings) -> Result<StepProcess<'_>, StepEnd> {
        self.check_sources(step, "since the run began")?;
        let folder = self.store.step_folder(&step.key);
        match step.node.kind.work {
            Work::Worker(_) => {
                let plan = self.store.run_folder(&self.run).join("plan.json");
                self.prepare(step, settings, &folder, &plan)?;
                let log = self.records(step).join("stderr.log");
                let worker = Worker::spawn(&self.options.worker, &plan, &step.node.name, log)?;
                Ok(StepProcess::Worker { worker: Box::new(worker), folder })
            }
            Work::Program(program) => {
                let folder = ProgramFolder::create(&folder, &self.spares)?;
                let inputs = self.lay_out(step, &folder.inputs)?;
                let program = program(
                    step.node.params(),
                    &ProgramContext {
                        stage: &step.node.name,
                        run: self.run.as_str(),
                        attempt: step.settings.attempt,
                        inputs: &inputs,
                        work: &folder.work,
                        scratch: &folder.scratch,
                        temporary: &folder.temporary,
                        folder: self.folder,
                        settings,
                        variables: self.surroundings.variables(),
                    },
                )?;
                folder.furnish(&program)?;
                let running = RunningProgram::start(&program, &folder.work, &folder.log, &self.warden)?;
                Ok(StepProcess::Program {
                    running: Box::new(running),
                    program: Box::new(program),
                    folder: Box::new(folder),
                })
            }
        }
    }

    /// Lays inputs from the store out, read-only, and says where the input of each port lies.
    fn lay_out(&self, step: &ReadyStep<'_>, folder: &Path) -> Result<BTreeMap<String, PathBuf>, StepEnd> {
        let mut inputs = BTreeMap::new();
        for (port, feed) in &step.feeds {
            let path = match feed {
                Feed::Outside(path) => path.clone(),
                Feed::Stored(_) | Feed::Collected(_) => {
                    let path = folder.join(port);
                    match self.hydrate(feed, &path) {
                        Ok(()) => path,
                        Err(error @ (StoreError::Corrupt { .. } | StoreError::MissingObject { .. })) => {
                            return Err(StepEnd::CorruptInput { object: error.to_string() });
                        }
                        Err(error) => return Err(in_store(&error).into()),
                    }
                }
            };
            inputs.insert(port.clone(), path);
        }
        Ok(inputs)
    }

    /// Lays the inputs out and writes the order of a worker.
    fn prepare(&self, step: &ReadyStep<'_>, settings: &Settings, folder: &Path, plan: &Path) -> Result<(), StepEnd> {
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
        let inputs = self.lay_out(step, &StepOrder::inputs_folder(folder))?;
        let order = StepOrder {
            stage: step.node.name.clone(),
            kind: step.node.kind.name.into(),
            with: step.node.params(),
            inputs,
            folder: folder.to_owned(),
            settings: settings.clone(),
        };
        let path = StepOrder::path(plan, &step.node.name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, serde_json::to_vec_pretty(&order).map_err(std::io::Error::from)?)?;
        Ok(())
    }

    fn hydrate(&self, feed: &Feed, to: &Path) -> Result<(), StoreError> {
        match feed {
            Feed::Outside(_) => Ok(()),
            Feed::Stored(tree) => self.store.hydrate(tree, to),
            Feed::Collected(trees) => {
                trees.iter().try_for_each(|(name, tree)| self.store.hydrate(tree, &to.join(name)))
            }
        }
    }

    /// A result made while someone edited its input or a tool belongs to neither the old content nor the new: it is not
    /// kept.
    fn check_outside(&self, step: &ReadyStep<'_>) -> Result<(), StageError> {
        self.check_sources(step, "while the stage read it")?;
        self.surroundings.unchanged(&step.inputs)
    }

    /// Whether the files that are read where they lie are what they were. Only what looks changed is read again.
    fn check_sources(&self, step: &ReadyStep<'_>, when: &str) -> Result<(), StageError> {
        for (port, feed) in &step.feeds {
            let (Feed::Outside(path), Some(digest)) = (feed, step.inputs.get(port)) else { continue };
            let found = self.store.measure(path, Some(self.lock)).map_err(|error| in_store(&error))?;
            if found.digest != *digest {
                return Err(StageError::new("engine::input_changed", format!("the input `{port}` was changed {when}"))
                    .at(path)
                    .help("no result was kept; run again"));
            }
        }
        Ok(())
    }
}

/// What became of a process that was watched.
enum Watched {
    Ended(Outcome),
    TooLong(Duration),
    Stopped,
}

/// Ends when the limit is reached, never without one.
async fn past(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

fn too_long(limit: Duration) -> StageError {
    let limit = jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX);
    StageError::new("engine::timeout", format!("the step took longer than its time limit of {limit:#}"))
        .help("raise the stage's `timeout`, or see in its log what it waited for")
}
