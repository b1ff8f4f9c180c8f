use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{write_questions, write_tiny_model};

/// The `refit` binary that was built with the tests.
pub fn binary() -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let binary = folder.join(format!("refit{}", env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "no {}: build it with `cargo build --release`", binary.display());
    binary
}

/// A folder of its own for one test, and the binary run in it with a clean environment.
pub struct Sandbox {
    root: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed for scripts.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty folder.
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A folder with a whole pipeline over a tiny model: clean, split, tokenize, train, evaluate before and after, compare.
    pub fn tiny() -> Self {
        let sandbox = Self::new();
        write_tiny_model(&sandbox.path("model"));
        write_questions(&sandbox.path("faq.jsonl"), 40);
        sandbox.write("pipeline.yaml", TINY_PIPELINE);
        sandbox
    }

    /// A path in the folder.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Writes a file, and the folders it needs.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    /// A command ready to start: `refit ARGUMENTS` in the folder, knowing nothing of the machine but `PATH`.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.root.path())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn refit<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::of(self.command(arguments))
    }

    /// Starts a command and leaves it running.
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Outcome {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Expects an exit code; shows all that was said if it is another.
    #[expect(clippy::return_self_not_must_use, reason = "often the code is all that is asked")]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What was printed for scripts.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// The names of the stages in that state, in the order of the graph.
    pub fn stages(&self, state: &str) -> Vec<String> {
        let report = self.json();
        let stages = report["stages"].as_array().unwrap().iter().filter(|stage| stage["state"] == state);
        stages.map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What the report says about a stage.
    pub fn stage(&self, name: &str) -> Value {
        let report = self.json();
        report["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == name).unwrap().clone()
    }
}

const TINY_PIPELINE: &str = "\
name: tiny
params: { epochs: 2 }
sources:
  faq: faq.jsonl
  base: model
stages:
  clean: { uses: clean, inputs: { records: faq } }
  split: { uses: split, inputs: { records: clean.records }, with: { test: 0.2, validation: 0.1, seed: 7 } }
  tokens: { uses: tokenize, inputs: { model: base, train: split.train, validation: split.validation }, with: { max_length: 256 } }
  train:
    uses: train-lora
    inputs: { model: base, tokens: tokens.tokens }
    with: { rank: 4, alpha: 8, epochs: \"${params.epochs}\", learning_rate: 1e-2, batch_size: 4, seed: 7 }
  before: { uses: evaluate, inputs: { model: base, records: split.test }, with: { max_new_tokens: 8 } }
  after: { uses: evaluate, inputs: { model: base, adapter: train.adapter, records: split.test }, with: { max_new_tokens: 8 } }
  compare: { uses: ab-compare, inputs: { a: before.predictions, b: after.predictions }, with: { allow_identical: true } }
outputs:
  out/adapter: train.adapter
  out/report.html: compare.report
";
