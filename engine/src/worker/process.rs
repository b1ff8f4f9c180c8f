use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::memory::kills_for_memory;
use crate::{
    program::ProcessGroup,
    stage::{Event, StageError},
};

/// How a worker ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why it failed, if it did.
    pub result: Result<(), StageError>,
    /// The worker's own peak resident memory in bytes; 0 if it could not tell.
    pub peak_memory: u64,
    /// Whether it died for want of memory.
    pub out_of_memory: bool,
}

impl Outcome {
    /// The outcome of a process that ended by itself.
    pub(crate) fn ended(result: Result<(), StageError>, peak_memory: u64) -> Self {
        Self { result, peak_memory, out_of_memory: false }
    }
}

/// The engine's side of a worker process.
pub struct Worker {
    child: Child,
    log: PathBuf,
    /// [`kills_for_memory`] when it was started.
    kills: u64,
}

const ABORT: i32 = 6;
const KILL: i32 = 9;

/// What Rust says before it ends a process that could not allocate.
const FAILED_ALLOCATION: &str = "memory allocation of ";

/// Lines of a crashed worker's log that go into the error.
const LAST_LINES: usize = 12;

impl Worker {
    /// Starts `PROGRAM exec-step PLAN STAGE` in a process group of its own, its standard error going to `log`.
    pub fn spawn(program: &Path, plan: &Path, stage: &str, log: PathBuf) -> Result<Self, StageError> {
        let (errors, kills) = (fs_err::File::create(&log)?, kills_for_memory());
        let child = Command::new(program)
            .arg("exec-step")
            .arg(plan)
            .arg(stage)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(errors.into_file()))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                StageError::new("engine::no_worker", "the worker could not be started").caused_by(&error)
            })?;
        Ok(Self { child, log, kills })
    }

    /// Where its standard error goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Passes the worker's events on until it ends.
    pub async fn watch(&mut self, mut on_event: impl FnMut(Event)) -> Outcome {
        let mut ended: Option<Outcome> = None;
        if let Some(output) = self.child.stdout.take() {
            let mut lines = BufReader::new(output).split(b'\n');
            // What is not an event was printed by a driver or a library; the log is the place for it.
            while let Ok(Some(line)) = lines.next_segment().await {
                match serde_json::from_slice(&line) {
                    Ok(Event::Done { peak_memory }) => ended = Some(Outcome::ended(Ok(()), peak_memory)),
                    Ok(Event::Failed { error, peak_memory }) => {
                        let out_of_memory = error.code == StageError::OUT_OF_DEVICE_MEMORY;
                        ended = Some(Outcome { result: Err(error), peak_memory, out_of_memory });
                    }
                    Ok(event) => on_event(event),
                    Err(_) => {}
                }
            }
        }
        let status = self.child.wait().await;
        match (ended, status) {
            (Some(Outcome { result: Ok(()), peak_memory, .. }), Ok(status)) if !status.success() => {
                Outcome::ended(Err(self.crash(status)), peak_memory)
            }
            (Some(outcome), _) => outcome,
            (None, Ok(status)) => {
                let error = self.crash(status);
                let out_of_memory = self.lacked_memory(status, &error);
                Outcome { result: Err(error), peak_memory: 0, out_of_memory }
            }
            (None, Err(error)) => Outcome::ended(Err(error.into()), 0),
        }
    }

    /// Asks the whole process group to end, and ends it after a grace.
    pub async fn stop(&mut self, grace: Duration) {
        let group = self.child.id().and_then(ProcessGroup::led_by);
        group.into_iter().for_each(ProcessGroup::ask_to_end);
        if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            group.into_iter().for_each(ProcessGroup::end);
            // Nothing is left to do about a process that even KILL does not end.
            let _ = self.child.wait().await;
        }
    }

    /// Whether the kernel killed it for its memory, or it could not allocate any and gave up.
    fn lacked_memory(&self, status: ExitStatus, crash: &StageError) -> bool {
        match status.signal() {
            Some(KILL) => kills_for_memory() > self.kills,
            Some(ABORT) => crash.causes.iter().any(|line| line.contains(FAILED_ALLOCATION)),
            _ => false,
        }
    }

    fn crash(&self, status: ExitStatus) -> StageError {
        let log = fs_err::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let mut error = StageError::new("engine::worker_died", format!("the worker died ({})", how(status)))
            .help(way_out(status))
            .at(&self.log);
        error.causes.extend(lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(ToString::to_string));
        error
    }
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "no exit code".into(),
    }
}

fn way_out(status: ExitStatus) -> &'static str {
    if status.signal() == Some(KILL) {
        "something killed it; when that was the system's out-of-memory killer, a smaller batch_size or max_length needs \
         less. Run again: a training step goes on from its last checkpoint"
    } else {
        "its log may say why; with a GPU, `--device cpu` tells whether the driver is at fault. Run again: a training step \
         goes on from its last checkpoint"
    }
}
