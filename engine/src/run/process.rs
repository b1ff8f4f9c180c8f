//! A step under way, in whichever process, and what it made.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use refit_cache::{Store, StoreLock, Taken};

use crate::{
    graph::StageNode,
    program::{Collected, Ended, ProgramFolder, RunningProgram, collect, failure, in_store, some_of},
    stage::{Event, Program, StageError},
    worker::{Outcome, StepOrder, Worker},
};

/// The process that carries a step out.
pub(super) enum StepProcess<'w> {
    /// A worker, and the step's folder.
    Worker { worker: Box<Worker>, folder: PathBuf },
    /// A command.
    Program { running: Box<RunningProgram<'w>>, program: Box<Program>, folder: Box<ProgramFolder> },
}

/// What a step that ended well made.
pub(super) struct Made {
    pub(super) outputs: BTreeMap<String, Taken>,
    /// What a command said.
    pub(super) log: Option<Taken>,
}

/// What a command says lies here, in the run's folder of the stage.
const LOG: &str = "output.log";

impl StepProcess<'_> {
    /// Waits until it ends, passing events on.
    pub(super) async fn watch(&mut self, on_event: impl FnMut(Event)) -> Outcome {
        match self {
            Self::Worker { worker, .. } => worker.watch(on_event).await,
            Self::Program { running, folder, .. } => match running.end().await {
                Ok(Ended { status, peak_memory }) => {
                    let failed = failure(status).map(|error| with_folder(error, &folder.work));
                    Outcome::ended(failed.map_or(Ok(()), Err), peak_memory)
                }
                Err(error) => Outcome::ended(Err(error.into()), 0),
            },
        }
    }

    /// Asks it to end, and ends it after a grace.
    pub(super) async fn stop(&mut self, grace: Duration) {
        match self {
            Self::Worker { worker, .. } => worker.stop(grace).await,
            Self::Program { running, .. } => running.stop(grace).await,
        }
    }

    /// What it said, in full, now that it has ended. `records` is the run's folder of the stage.
    pub(super) fn log(&self, records: &Path) -> Result<Option<PathBuf>, StageError> {
        match self {
            Self::Worker { worker, .. } => Ok(Some(worker.log().to_owned())),
            Self::Program { folder, .. } => {
                // Most commands say nothing.
                if fs_err::metadata(&folder.log)?.len() == 0 {
                    return Ok(None);
                }
                let log = records.join(LOG);
                fs_err::create_dir_all(records)?;
                fs_err::rename(&folder.log, &log)?;
                Ok(Some(log))
            }
        }
    }

    /// Takes what it made into the store. `log` is what [`log`](Self::log) returned.
    pub(super) fn results(
        &self,
        node: &StageNode,
        log: Option<&Path>,
        store: &Store,
        lock: &StoreLock,
        mut warn: impl FnMut(String),
    ) -> Result<Made, StageError> {
        match self {
            Self::Worker { folder, .. } => Ok(Made { outputs: worker_outputs(node, folder, store, lock)?, log: None }),
            Self::Program { program, folder, .. } => {
                let kept = |error| with_folder(error, &folder.work);
                let Collected { outputs, undeclared } = collect(store, lock, program, folder).map_err(kept)?;
                if !undeclared.is_empty() {
                    let number = undeclared.len();
                    let files = if number == 1 { "1 file".to_owned() } else { format!("{number} files") };
                    warn(format!(
                        "no output declares {files} of the command, and nothing keeps it: {}",
                        some_of(&undeclared)
                    ));
                }
                let log = log.map(|log| keep_log(log, folder, store, lock)).transpose()?;
                Ok(Made { outputs, log })
            }
        }
    }
}

/// What a command said is kept with its result.
fn keep_log(log: &Path, folder: &ProgramFolder, store: &Store, lock: &StoreLock) -> Result<Taken, StageError> {
    fs_err::copy(log, &folder.log)?;
    store.take_in(lock, &folder.log).map_err(|error| in_store(&error))
}

fn worker_outputs(
    node: &StageNode,
    folder: &Path,
    store: &Store,
    lock: &StoreLock,
) -> Result<BTreeMap<String, Taken>, StageError> {
    let folder = StepOrder::outputs_folder(folder);
    let mut outputs = BTreeMap::new();
    for port in &node.outputs {
        let path = folder.join(port.name.as_ref());
        if !path.exists() {
            return Err(StageError::new(
                "engine::missing_output",
                format!("the stage ended well but did not write its output `{}`", port.name),
            )
            .help("this is a defect in refit; please report it"));
        }
        let taken = store.take_in(lock, &path).map_err(|error| in_store(&error))?;
        outputs.insert(port.name.clone().into_owned(), taken);
    }
    Ok(outputs)
}

/// Adds where a command that failed can be looked into.
fn with_folder(mut error: StageError, work: &Path) -> StageError {
    let kept = format!("its folder is left as it was: {}", work.display());
    error.help = Some(match error.help {
        Some(help) => format!("{help}; {kept}"),
        None => kept,
    });
    error
}
