use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, waitid},
};
use tokio::{
    io::AsyncReadExt,
    process::ChildStdout,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use wait4::{ResUse, Wait4};

use super::{
    ProcessGroup, Warden,
    redactor::Redactor,
    warden::{Marks, RUN_VARIABLE, Watch},
};
use crate::{
    stage::{Program, StageError},
    worker::peak_memory,
};

/// A command under way.
pub(crate) struct RunningProgram<'w> {
    /// A thread waits for it: only then does the system tell what it used.
    ending: JoinHandle<io::Result<Ended>>,
    ended: Option<Ended>,
    group: ProcessGroup,
    /// Only what must be looked through for secrets passes through the engine; else the command writes its log itself.
    capture: Option<Capture>,
    marks: Option<Arc<Marks>>,
    /// Lasts as long as the command.
    _watch: Watch<'w>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The most memory that it, or a process it waited for, had at a time, in bytes; 0 where that is less than what refit itself
    /// had, which the system does not tell apart.
    pub(crate) peak_memory: u64,
}

/// What is left in the pipe when a command has ended is there at once; somebody who left the group may hold it for ever.
const REST: Duration = Duration::from_millis(200);

/// Bytes read from a command at a time.
const PIECE: usize = 16 << 10;

impl<'w> RunningProgram<'w> {
    /// Starts a command in `work`, in a process group of its own. All that it says goes to `log`, without its secrets.
    pub(crate) fn start(program: &Program, work: &Path, log: &Path, warden: &'w Warden) -> Result<Self, StageError> {
        let watcher = warden.begin()?;
        let (name, arguments) = program.arguments.split_first().ok_or_else(|| no_program(OsStr::new("")))?;
        let mut command = Command::new(name);
        command.args(arguments).current_dir(work).env_clear().envs(&program.environment);
        command.env(RUN_VARIABLE, warden.run());
        command.stdin(Stdio::null()).process_group(0);
        let file = File::options().append(true).create(true).open(log)?;
        let capture = if program.secrets.is_empty() {
            command.stdout(file.try_clone()?).stderr(file);
            None
        } else {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            let reader = std::process::ChildStdout::from(OwnedFd::from(reader));
            let redactor = Redactor::new(file, &program.secrets)?;
            Some(Capture { output: ChildStdout::from_std(reader)?, redactor, piece: vec![0; PIECE] })
        };
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_program(name),
            _ => StageError::new("program::not_started", format!("`{}` could not be started", name.display()))
                .caused_by(&error),
        })?;
        // The other ends of the pipe are the command's alone.
        drop(command);
        let group = ProcessGroup::led_by(child.id()).ok_or_else(|| no_program(name))?;
        let ending = spawn_blocking(move || wait(child, group));
        let marks = Marks::of(program, warden.run()).map(Arc::new);
        Ok(Self { ending, ended: None, group, capture, marks, _watch: watcher.watch(group) })
    }

    /// Waits until the command has ended, and ends what it left running. Can be dropped and called again.
    pub(crate) async fn end(&mut self) -> io::Result<Ended> {
        let ended = match (self.ended, &mut self.capture) {
            (Some(ended), _) => ended,
            (None, None) => (&mut self.ending).await??,
            (None, Some(capture)) => tokio::select! {
                biased;
                ended = &mut self.ending => ended??,
                read = capture.drain() => {
                    read?;
                    (&mut self.ending).await??
                }
            },
        };
        self.ended = Some(ended);
        if let Some(mut capture) = self.capture.take() {
            timeout(REST, capture.drain()).await.unwrap_or(Ok(()))?;
            capture.redactor.finish()?;
        }
        Ok(ended)
    }

    /// Asks the command to end, and ends it after a grace, with what left its group. A command that ends by itself is not
    /// looked after so closely: that would cost every short one the time to look at all processes.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.group.ask_to_end();
        if timeout(grace, self.end()).await.is_err() {
            self.group.end();
            // Nothing is left to do about a process that even KILL does not end.
            let _ = self.end().await;
        }
        if let Some(marks) = self.marks.clone() {
            // It fails only when the run itself ends, and then the warden does it.
            let _ = spawn_blocking(move || marks.end_stragglers()).await;
        }
    }
}

/// Nobody waits for the command any more.
impl Drop for RunningProgram<'_> {
    fn drop(&mut self) {
        // Of a child that was waited for, the number may be another's by now.
        if !self.ending.is_finished() {
            self.group.end();
        }
    }
}

/// Waits until a command has ended, ends what it left running, and frees its number for others only then.
fn wait(child: Child, group: ProcessGroup) -> io::Result<Ended> {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), seen), Err(Errno::INTR)) {}
    }
    group.end();
    let ResUse { status, rusage } = child.wait4()?;
    // Linux counts the moments before the command took its parent's place, when the memory was still the parent's.
    let peak_memory = if rusage.maxrss > peak_memory() { rusage.maxrss } else { 0 };
    Ok(Ended { status, peak_memory })
}

/// What a command says, on its way to the log.
struct Capture {
    output: ChildStdout,
    redactor: Redactor<File>,
    piece: Vec<u8>,
}

impl Capture {
    /// Reads until nobody holds the other end. Nothing is lost when this is dropped and called again.
    async fn drain(&mut self) -> io::Result<()> {
        loop {
            match self.output.read(&mut self.piece).await? {
                0 => return Ok(()),
                read => self.redactor.write(&self.piece[..read])?,
            }
        }
    }
}

fn no_program(name: &OsStr) -> StageError {
    StageError::new("program::not_found", format!("there is no program `{}`", name.display()))
        .help("install it, or correct its name; a path starts at the pipeline's folder")
}

/// Why a command that ended did not end well, if it did not.
pub(crate) fn failure(status: ExitStatus) -> Option<StageError> {
    /// A shell's code for a command that it did not find.
    const NOT_FOUND: i32 = 127;
    /// A shell's code for a command that may not be run.
    const NOT_RUNNABLE: i32 = 126;
    const KILL: i32 = 9;
    if status.success() {
        return None;
    }
    let failed = |message: String| StageError::new("program::failed", message);
    Some(match (status.code(), status.signal()) {
        (Some(code @ NOT_FOUND), _) => failed(format!("the command ended with exit code {code}: a program in it was not found")).help(
            "it runs in an empty folder: reach files by the variables of its inputs (`$NAME`); programs are looked up in PATH",
        ),
        (Some(code @ NOT_RUNNABLE), _) => {
            failed(format!("the command ended with exit code {code}: a program in it may not be run"))
                .help("make the file executable, or name its interpreter: `python3 $script`")
        }
        (Some(code), _) => failed(format!("the command ended with exit code {code}")),
        (None, Some(signal)) => {
            let error = failed(format!("the command was ended by signal {signal}"));
            if signal == KILL {
                error.help("when that was the system's out-of-memory killer, it needs less memory, or fewer steps beside it (`-j 1`)")
            } else {
                error
            }
        }
        (None, None) => failed("the command ended in an unknown way".to_owned()),
    })
}
