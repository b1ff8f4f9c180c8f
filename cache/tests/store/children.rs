//! Other processes: this test binary again, running one of the tests below, which do nothing otherwise.

use std::{
    env,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

const FOLDER: &str = "REFIT_CACHE_TEST_FOLDER";

/// A running child. It is killed when this goes away.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Runs the test `name` of this binary (or of the copy at `program`) with a folder to work in.
    pub(crate) fn start(program: &Path, name: &str, folder: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    pub(crate) fn of_this_binary(name: &str, folder: &Path) -> Self {
        Self::start(&env::current_exe().unwrap(), name, folder, |_| {})
    }

    /// What the child says next; the test harness around it talks too.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.split_once("SAY ")?.1.to_owned()))
    }

    /// `kill -9`, and waits until it is gone. Returns all that it still said.
    pub(crate) fn kill(&mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }

    pub(crate) fn ends_well(mut self) -> bool {
        drop(self.stdin.take());
        while self.next().is_some() {}
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a child works; `None` in an ordinary test run.
pub(crate) fn folder() -> Option<std::path::PathBuf> {
    env::var_os(FOLDER).map(Into::into)
}

pub(crate) fn say(text: &str) {
    println!("SAY {text}");
}
