use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, StepKey, canonical::CanonicalWriter};

/// Keeps the digest of a step's outputs apart from every other use of blake3.
const OUTPUTS_DOMAIN: &str = "refit 2026-11 outputs";

/// A result as the record of a run names it. The key alone does not tell what a run had: a step that is not deterministic
/// may have been carried out anew since, with other outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UsedResult {
    /// The step's key.
    pub key: StepKey,
    /// Over the digests of its outputs. None where the record names no outputs, because the stage failed, did not run, or
    /// has none: whatever there is of the key is meant then.
    pub outputs: Option<Digest>,
}

impl UsedResult {
    /// The result of a step with these outputs: port and digest, in any order.
    pub fn new<'a>(key: StepKey, outputs: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let outputs: BTreeMap<&str, Digest> = outputs.into_iter().collect();
        let outputs = (!outputs.is_empty()).then(|| {
            let mut writer = CanonicalWriter::new();
            writer.map(outputs.len());
            for (port, digest) in &outputs {
                writer.text(port).bytes(digest.as_bytes());
            }
            blake3::Hasher::new_derive_key(OUTPUTS_DOMAIN).update(&writer.finish()).finalize().into()
        });
        Self { key, outputs }
    }

    /// Whatever there is of a key.
    pub fn any_of(key: StepKey) -> Self {
        Self { key, outputs: None }
    }
}
