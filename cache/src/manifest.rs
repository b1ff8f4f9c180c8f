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
    /// What a command said while it ran, as one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Tree>,
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

/// A manifest's file is `{"check":"b3:…","manifest":…}`: the check is the digest of the manifest's bytes as they stand.
const HEAD: &[u8] = b"{\"check\":\"b3:";
const MIDDLE: &[u8] = b"\",\"manifest\":";
const TAIL: &[u8] = b"}\n";

/// Why the bytes of a manifest's file are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another refit wrote it in a format of its own.
    #[error("it has format {0}, which this refit does not read")]
    OtherFormat(u32),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// The one thing that every format has.
#[derive(Deserialize)]
struct Peek {
    format: u32,
}

impl Manifest {
    /// All that is kept with the step: its outputs and what it said.
    pub fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.outputs.values().chain(&self.log)
    }

    /// The bytes of its file.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let body = serde_json::to_vec_pretty(self)?;
        let check = Digest::of(&body).to_string();
        Ok([HEAD, check.as_bytes(), MIDDLE, &body, TAIL].concat())
    }

    /// Reads the file of `key`. Whatever the bytes are, a manifest that comes out is one that was written for that key.
    pub fn decode(bytes: &[u8], key: &StepKey) -> Result<Self, Unreadable> {
        let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
        let rest = bytes.strip_prefix(HEAD).ok_or_else(|| damaged("it does not begin as a manifest does"))?;
        let (check, rest) = rest.split_at_checked(64).ok_or_else(|| damaged("it is cut off"))?;
        let rest = rest.strip_prefix(MIDDLE).ok_or_else(|| damaged("it does not begin as a manifest does"))?;
        let body = rest.strip_suffix(TAIL).ok_or_else(|| damaged("it is cut off"))?;
        if Digest::of(body).to_string().as_bytes() != check {
            return Err(damaged("its bytes do not fit its check"));
        }
        let peek: Peek = serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
        if peek.format != MANIFEST_FORMAT {
            return Err(Unreadable::OtherFormat(peek.format));
        }
        let manifest: Self = serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))?;
        if manifest.key != *key {
            return Err(damaged("it is that of another key"));
        }
        if !manifest.trees().all(Tree::is_sound) {
            return Err(damaged("the files it lists contradict their digest"));
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            key: StepKey::from_bytes([7; 32]),
            kind: "clean".to_owned(),
            version: 2,
            params: json!({"dedup": "near", "min": 0.1}),
            inputs: [("records".to_owned(), Digest::of(b"in"))].into(),
            outputs: [("records".to_owned(), Tree::file(Digest::of(b"out"), 3))].into(),
            log: None,
            facts: [("device".to_owned(), json!("cpu"))].into(),
            warnings: vec!["2 rows dropped".to_owned()],
            seconds: 0.25,
            peak_memory: 1 << 20,
            created: "2026-11-23T17:53:01Z".parse().unwrap(),
            run: "20261123T175301-4f2a9c".parse().unwrap(),
        }
    }

    #[test]
    fn reads_back_and_is_plain_json() {
        let bytes = manifest().encode().unwrap();
        assert_eq!(Manifest::decode(&bytes, &manifest().key).unwrap(), manifest());
        let plain: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(plain["manifest"]["kind"], "clean");
    }

    #[test]
    fn another_format_is_none_of_ours() {
        let mut other = manifest();
        other.format = 9;
        assert_eq!(Manifest::decode(&other.encode().unwrap(), &other.key), Err(Unreadable::OtherFormat(9)));
    }

    #[test]
    fn a_copy_under_another_key_is_refused() {
        let decoded = Manifest::decode(&manifest().encode().unwrap(), &StepKey::from_bytes([8; 32]));
        assert_eq!(decoded, Err(Unreadable::Damaged("it is that of another key".to_owned())));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(place in any::<prop::sample::Index>(), bit in 0..8) {
            let mut bytes = manifest().encode().unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            prop_assert!(matches!(Manifest::decode(&bytes, &manifest().key), Err(Unreadable::Damaged(_))));
        }

        #[test]
        fn every_cut_is_found(place in any::<prop::sample::Index>()) {
            let bytes = manifest().encode().unwrap();
            let cut = &bytes[..place.index(bytes.len())];
            prop_assert!(matches!(Manifest::decode(cut, &manifest().key), Err(Unreadable::Damaged(_))));
        }
    }
}
