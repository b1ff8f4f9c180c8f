use serde::{Deserialize, Serialize};

use crate::{Digest, RunId, StepKey};

/// The format that this build writes and reads.
pub(super) const BUNDLE_FORMAT: u32 = 1;

/// The first file of a bundle.
pub(super) const CONTENTS_NAME: &str = "refit.json";

/// At most so large are the contents, a manifest, and a file of a run's record: they are held in memory.
pub(super) const PART_LIMIT: u64 = 256 << 20;

/// What a bundle holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) format: u32,
    /// The run whose record is in it.
    pub(super) run: Option<RunId>,
    pub(super) manifests: Vec<StepKey>,
    /// How many objects follow.
    pub(super) objects: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    pub(super) record: Vec<RecordFile>,
}

/// A file of a run's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordFile {
    /// Relative to the run's folder, with `/` between the parts.
    pub(super) path: String,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}
