use jiff::Timestamp;
use serde::Serialize;

use crate::{Manifest, RunId, StepKey, Tree};

/// What `gc` dropped, or would drop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Runs whose records went.
    pub runs: Vec<RunId>,
    /// Results that went, the most recently used first.
    pub results: Vec<DroppedResult>,
    /// Objects that no result needs any more.
    pub objects: u64,
    /// Objects that no result needs, too young to go.
    pub spared_objects: u64,
    /// Folders of killed steps, quarantined files and temporary files that nobody touched for long.
    pub leftovers: u64,
    /// Bytes that all of these took.
    pub freed_bytes: u64,
    /// Results that stay.
    pub kept_results: u64,
    /// Bytes of the objects that stay.
    pub kept_bytes: u64,
    /// What a person should know, such as a run whose report cannot be read.
    pub notices: Vec<String>,
}

/// A result that `gc` dropped, or would drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedResult {
    /// Its key.
    pub key: StepKey,
    /// The stage kind that made it.
    pub kind: String,
    /// The run that made it.
    pub run: RunId,
    /// When a run last made or used it.
    pub last_used: Timestamp,
    /// Bytes of its outputs. Results that stay may share some of them.
    pub bytes: u64,
}

impl DroppedResult {
    pub(super) fn of(manifest: &Manifest, last_used: Timestamp) -> Self {
        Self {
            key: manifest.key,
            kind: manifest.kind.clone(),
            run: manifest.run.clone(),
            last_used,
            bytes: manifest.trees().flat_map(Tree::objects).map(|(_, bytes)| bytes).sum(),
        }
    }
}
