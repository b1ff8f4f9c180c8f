use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{File, TryLockError},
    io::{self, BufRead, BufReader, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::ProcessGroup;
use crate::stage::{Program, StageError};

/// A process beside the engine that outlives it, and then ends the commands that the engine left.
///
/// The engine tells it on standard input which groups begin and end. When that closes without a farewell, the engine was
/// killed. It holds a lock of the store for as long as it lives, so that the next run's commands begin after the last
/// one's have ended.
pub(crate) struct Warden {
    program: PathBuf,
    run: String,
    lock: PathBuf,
    post: Mutex<Option<Post>>,
}

struct Post {
    process: Child,
    orders: ChildStdin,
}

/// The warden, ready to be told about a group. Nobody else tells it anything meanwhile.
pub(super) struct Watcher<'w> {
    warden: &'w Warden,
    post: MutexGuard<'w, Option<Post>>,
}

/// A group the warden knows of, until this is dropped.
pub(super) struct Watch<'w> {
    warden: &'w Warden,
    group: ProcessGroup,
}

/// The variable that every command of a run has, and its children after it.
pub(super) const RUN_VARIABLE: &str = "REFIT_RUN";
/// The variable that tells the commands of a run apart.
const STAGE_VARIABLE: &str = "REFIT_STAGE";

/// The file in the store that a warden locks.
const LOCK: &str = "commands.lock";
/// The last order: all is in order.
const FAREWELL: &str = "done";
/// The commands of an engine that was killed end within moments.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(5);

impl Warden {
    /// A warden for a run over the store at `root`: `PROGRAM warden RUN`, started with the first command.
    pub(crate) fn new(program: &Path, run: &str, root: &Path) -> Self {
        Self { program: program.to_owned(), run: run.to_owned(), lock: root.join(LOCK), post: Mutex::new(None) }
    }

    /// The run.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Makes sure that there is somebody to be told of a group.
    pub(super) fn begin(&self) -> Result<Watcher<'_>, StageError> {
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = match post.as_mut() {
            Some(there) => there.process.try_wait()?.is_none(),
            None => false,
        };
        if !is_there {
            *post = Some(self.start()?);
        }
        Ok(Watcher { warden: self, post })
    }

    fn start(&self) -> Result<Post, StageError> {
        let lock = File::create(&self.lock)?;
        let asked = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if asked.elapsed() < PATIENCE => thread::sleep(ASK_AGAIN),
                Err(TryLockError::WouldBlock) => {
                    return Err(StageError::new(
                        "program::still_running",
                        "commands of an earlier run have not ended yet",
                    )
                    .at(&self.lock)
                    .help("end them, then run again: a process that holds this file open knows them"));
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        let mut process = Command::new(&self.program)
            .args(["warden", &self.run])
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(Stdio::null())
            // A terminal's Ctrl-C must not reach it.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                StageError::new("program::no_warden", "the process that watches over commands could not be started")
                    .caused_by(&error)
            })?;
        match process.stdin.take() {
            Some(orders) => Ok(Post { process, orders }),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
        }
    }

    fn tell(post: &mut Option<Post>, order: &str) {
        if let Some(post) = post {
            // It was killed then; the next command gets another.
            let _ = post.orders.write_all(order.as_bytes());
        }
    }
}

impl<'w> Watcher<'w> {
    pub(super) fn watch(mut self, group: ProcessGroup) -> Watch<'w> {
        Warden::tell(&mut self.post, &format!("+{}\n", group.number()));
        Watch { warden: self.warden, group }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut post = self.warden.post.lock().unwrap_or_else(PoisonError::into_inner);
        Warden::tell(&mut post, &format!("-{}\n", self.group.number()));
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        Self::tell(&mut post, FAREWELL);
        if let Some(Post { mut process, orders }) = post.take() {
            drop(orders);
            let _ = process.wait();
        }
    }
}

/// The warden's side: keeps count of the groups of `run` and, when the engine is gone without a farewell, ends them.
pub fn guard(run: &str) {
    let mut groups = HashSet::new();
    for order in BufReader::new(io::stdin().lock()).lines().map_while(Result::ok) {
        if order == FAREWELL {
            return;
        }
        let group = |number: &str| ProcessGroup::led_by(number.parse().ok()?);
        match (order.strip_prefix('+').and_then(group), order.strip_prefix('-').and_then(group)) {
            (Some(begun), _) => {
                groups.insert(begun);
            }
            (_, Some(ended)) => {
                groups.remove(&ended);
            }
            _ => {}
        }
    }
    groups.into_iter().for_each(ProcessGroup::end);
    // Also a command that was begun in the moment in which the engine was killed.
    Marks(vec![entry(RUN_VARIABLE, OsStr::new(run))]).end_stragglers();
}

/// What the environment of a process shows of where it comes from.
#[derive(Debug)]
pub(super) struct Marks(Vec<Vec<u8>>);

fn entry(name: &str, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes()].concat()
}

impl Marks {
    /// What all processes of a command carry and nobody else does; none of a command without a stage's name.
    pub(super) fn of(program: &Program, run: &str) -> Option<Self> {
        let stage = program.environment.get(STAGE_VARIABLE)?;
        Some(Self(vec![entry(RUN_VARIABLE, OsStr::new(run)), entry(STAGE_VARIABLE, stage)]))
    }

    fn are_on(&self, process: &Path) -> bool {
        fs_err::read(process.join("environ")).is_ok_and(|environment| {
            let has = |mark: &Vec<u8>| environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_slice());
            self.0.iter().all(has)
        })
    }

    /// Ends the processes that left their group. Only where the system shows the environment of processes.
    pub(super) fn end_stragglers(&self) {
        /// A process that starts others while it is looked for is gone by the next round.
        const ROUNDS: usize = 20;
        for _ in 0..ROUNDS {
            let mut found = false;
            for process in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
                let number = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
                if let Some(number) = number.filter(|_| self.are_on(&process.path())) {
                    found = true;
                    let _ = kill_process(number, Signal::KILL);
                }
            }
            if !found {
                return;
            }
            thread::sleep(ASK_AGAIN);
        }
    }
}
