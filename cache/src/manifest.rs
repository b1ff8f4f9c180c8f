use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, RunId, StepKey, Tree};

/// The format of manifests this build reads and writes.
pub const MANIFEST_FORMAT: u32 = 1;

/// The record of a step that ended well: what it was, what it read, what it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// What it is found by.
    pub key: StepKey,
    /// The stage kind.
    pub kind: String,
    /// The kind's version.
    pub version: u32,
    /// The parameters, all defaults filled in.
    pub params: Value,
    /// Port → digest of the artifact that was wired to it.
    pub inputs: BTreeMap<String, Digest>,
    /// Port → what the step made.
    pub outputs: BTreeMap<String, Tree>,
    /// What the step told about itself, such as the device it ran on.
    pub facts: BTreeMap<String, Value>,
    /// What a person should know about the result.
    pub warnings: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// The worker's own peak resident memory in bytes.
    pub peak_memory: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The run that made it.
    pub run: RunId,
}
