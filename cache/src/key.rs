use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Digest, StepKey, canonical::CanonicalWriter};

/// Raised when the way a key is computed changes; every result is computed anew then.
pub const KEY_FORMAT: u32 = 1;

/// Keeps keys apart from every other use of blake3.
const DOMAIN: &str = "refit 2026-11 step key";

impl StepKey {
    /// The key of a step: what it does (`kind` and its `version`), how (`params`, all defaults filled in), and on what
    /// (port → digest of the artifact wired to it). Nothing else decides a result, so nothing else is in it.
    pub fn compute(kind: &str, version: u32, params: &Value, inputs: &BTreeMap<String, Digest>) -> Self {
        let mut writer = CanonicalWriter::new();
        writer.integer(KEY_FORMAT).text(kind).integer(version).value(params).map(inputs.len());
        for (port, digest) in inputs {
            writer.text(port).bytes(digest.as_bytes());
        }
        blake3::Hasher::new_derive_key(DOMAIN).update(&writer.finish()).finalize().into()
    }
}
