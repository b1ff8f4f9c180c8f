use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Event, EventSink, Progress, StageError};

/// What a step is told about the machine. None of it may change the result, so none of it is in the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `auto`, `cpu`, `wgpu`, `wgpu:N`, several of these with commas or `wgpu:all`, as given with `--device`.
    pub device: String,
    /// Whether GPUs may do several operations by one kernel.
    #[serde(default = "usually")]
    pub fusion: bool,
    /// Threads a step may keep busy.
    pub threads: usize,
    /// The numbers of the GPUs the step may use; empty when nothing is said about it.
    #[serde(default)]
    pub gpus: Vec<usize>,
    /// A folder of the store for what is found out about the fastest kernels of GPUs. It outlives the step, and steps that run
    /// at once share it.
    #[serde(default)]
    pub kernels: Option<PathBuf>,
    /// Which try this is, from 1.
    #[serde(default = "first")]
    pub attempt: u32,
    /// How often its memory ran out in this try; each time it was started again.
    #[serde(default)]
    pub shortages: u32,
}

fn first() -> u32 {
    1
}

fn usually() -> bool {
    true
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: "auto".into(),
            fusion: true,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            gpus: Vec::new(),
            kernels: None,
            attempt: 1,
            shortages: 0,
        }
    }
}

/// All that a running step sees of the world.
pub struct StepContext {
    inputs: BTreeMap<String, PathBuf>,
    outputs: PathBuf,
    scratch: PathBuf,
    settings: Settings,
    events: EventSink,
    last_progress: Arc<Mutex<Option<Instant>>>,
}

/// Progress is passed on at most this often; the last unit always is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl StepContext {
    /// A context over existing input paths; `outputs` and `scratch` are existing folders.
    pub fn new(
        inputs: BTreeMap<String, PathBuf>,
        outputs: impl Into<PathBuf>,
        scratch: impl Into<PathBuf>,
        settings: Settings,
        events: EventSink,
    ) -> Self {
        Self {
            inputs,
            outputs: outputs.into(),
            scratch: scratch.into(),
            settings,
            events,
            last_progress: Arc::default(),
        }
    }

    /// The file or folder wired to a required port.
    pub fn input(&self, port: &str) -> Result<&Path, StageError> {
        self.optional_input(port)
            .ok_or_else(|| StageError::new("engine::missing_input", format!("no input is wired to the port `{port}`")))
    }

    /// The file or folder wired to a port, if any.
    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.inputs.get(port).map(PathBuf::as_path)
    }

    /// Where the artifact of an output port goes: the step creates one file or one folder of exactly this path.
    pub fn output(&self, port: &str) -> PathBuf {
        self.outputs.join(port)
    }

    /// Creates the folder of an output port and returns its path.
    pub fn output_folder(&self, port: &str) -> Result<PathBuf, StageError> {
        let folder = self.output(port);
        fs_err::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A folder that outlives a kill: the next try of the same step finds it as it was left. For checkpoints.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// What the step is told about the machine.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says how far the step is. Cheap to call for every row.
    pub fn progress(&self, progress: Progress) {
        let mut last = self.last_progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let finished = progress.total > 0 && progress.done >= progress.total;
        if finished || last.is_none_or(|then| now.duration_since(then) >= PROGRESS_INTERVAL) {
            *last = Some(now);
            self.events.send(Event::Progress(progress));
        }
    }

    /// Says something a person should know; it is shown and recorded.
    pub fn warn(&self, message: impl Into<String>) {
        self.events.send(Event::Warning { message: message.into() });
    }

    /// Records a fact with the run.
    pub fn fact(&self, name: impl Into<String>, value: impl Into<Value>) {
        self.events.send(Event::Fact { name: name.into(), value: value.into() });
    }
}

/// An input that is a folder holding `name`, or that file itself: a source may stand for an artifact by its one file.
pub fn file_in(input: &Path, name: &str) -> PathBuf {
    if input.is_dir() { input.join(name) } else { input.to_owned() }
}
