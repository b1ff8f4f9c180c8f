use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

/// What is known of a step's inputs before it runs.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    inputs: BTreeMap<String, Foreseen>,
    device: String,
}

/// What is known of one input.
#[derive(Debug, Clone)]
pub enum Foreseen {
    /// A source on this machine, or as much of it as was fetched.
    Here(PathBuf),
    /// A result in the store: where each file of it lies, by its name in the artifact; of one that is a file, the name is
    /// empty.
    Stored(BTreeMap<String, PathBuf>),
    /// What a stage is going to make: its kind and its parameters.
    Later {
        /// The kind's name.
        kind: String,
        /// With every default.
        with: Value,
    },
    /// A source that is not here.
    Elsewhere {
        /// Why, and how it gets here.
        why: String,
    },
}

/// Where a step needs memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryPlace {
    /// The main memory of the machine.
    Cpu,
    /// That of the GPU, of each if several share the work.
    Gpu,
}

/// How much memory a step will need at its peak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Which memory.
    pub place: MemoryPlace,
    /// Bytes.
    pub bytes: u64,
    /// Whether it is a bound rather than an estimate, because something is not made yet.
    pub at_most: bool,
    /// What takes it. Memory that one part has before another needs its own counts once.
    pub parts: BTreeMap<&'static str, u64>,
}

impl Outlook {
    /// What is known of the wired inputs, and the device that is asked for.
    pub fn new(inputs: BTreeMap<String, Foreseen>, device: impl Into<String>) -> Self {
        Self { inputs, device: device.into() }
    }

    /// `auto`, `cpu`, `wgpu` or `wgpu:N`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What is known of the input wired to a port; nothing also where nothing is wired.
    pub fn input(&self, port: &str) -> Option<&Foreseen> {
        self.inputs.get(port)
    }

    /// A file of an input that is there: by its name in a folder, or the input that is one file.
    pub fn file(&self, port: &str, name: &str) -> Option<PathBuf> {
        match self.inputs.get(port)? {
            Foreseen::Here(path) => Some(super::file_in(path, name)).filter(|path| path.exists()),
            Foreseen::Stored(files) => files.get(name).or_else(|| files.get("")).cloned(),
            Foreseen::Later { .. } | Foreseen::Elsewhere { .. } => None,
        }
    }
}
