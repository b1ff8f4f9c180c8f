//! A manifest on its way: a line that says by whom, then the bytes of its file in a store.

use std::fmt;

use refit_cache::{Manifest, StepKey};
use serde::{Deserialize, Serialize};

/// Keeps signatures apart from every other use of blake3.
const DOMAIN: &str = "refit 2026-11 signature of a shared manifest";

/// The form of envelopes this build reads and writes.
const FORMAT: u32 = 1;

/// A secret that all who share results know.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// The key that follows from a secret text.
    pub fn new(secret: &str) -> Self {
        Self(blake3::derive_key(DOMAIN, secret.trim().as_bytes()))
    }

    fn sign(&self, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, bytes)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    /// Keyed blake3 of all that follows the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

/// The bytes of a manifest for others.
pub(crate) fn seal(manifest: &Manifest, key: Option<&SigningKey>) -> serde_json::Result<Vec<u8>> {
    let body = manifest.encode()?;
    let signature = key.map(|key| key.sign(&body).to_hex().to_string());
    let mut bytes = serde_json::to_vec(&Head { format: FORMAT, signature })?;
    bytes.push(b'\n');
    bytes.extend(body);
    Ok(bytes)
}

/// The manifest in an envelope, if it is the one of `step` and, where there is a key, was signed with it. The error is a
/// sentence that begins with "it".
pub(crate) fn open(bytes: &[u8], step: &StepKey, key: Option<&SigningKey>) -> Result<Manifest, String> {
    let cut = bytes.iter().position(|byte| *byte == b'\n').ok_or("it does not begin as a shared result does")?;
    let (head, body) = (&bytes[..cut], &bytes[cut + 1..]);
    let head: Head =
        serde_json::from_slice(head).map_err(|_| "it does not begin as a shared result does".to_owned())?;
    if head.format != FORMAT {
        return Err(format!("it has form {}, which this refit does not read", head.format));
    }
    if let Some(key) = key {
        let signature = head.signature.ok_or("it is not signed, and `cache.signing_key` asks for that")?;
        let signature = blake3::Hash::from_hex(&signature).map_err(|_| "its signature is none".to_owned())?;
        // Hashes compare in constant time.
        if signature != key.sign(body) {
            return Err("it is not signed with your `cache.signing_key`".into());
        }
    }
    Manifest::decode(body, step).map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use refit_cache::{Digest, MANIFEST_FORMAT, Tree};

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: MANIFEST_FORMAT,
            key: StepKey::from_bytes([7; 32]),
            kind: "clean".into(),
            version: 1,
            params: serde_json::json!({}),
            inputs: [].into(),
            outputs: [("records".to_owned(), Tree::file(Digest::of(b"out"), 3))].into(),
            log: None,
            facts: [].into(),
            warnings: vec![],
            seconds: 1.0,
            peak_memory: 1,
            created: "2026-11-23T17:53:01Z".parse().unwrap(),
            run: "20261123T175301-4f2a9c".parse().unwrap(),
        }
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let (ours, theirs) = (SigningKey::new("ours"), SigningKey::new("theirs"));
        let step = manifest().key;
        let signed = seal(&manifest(), Some(&ours)).unwrap();
        assert_eq!(open(&signed, &step, Some(&ours)).unwrap(), manifest());
        assert_eq!(open(&signed, &step, None).unwrap(), manifest());
        assert!(open(&signed, &step, Some(&theirs)).unwrap_err().contains("not signed with your"));
        let plain = seal(&manifest(), None).unwrap();
        assert_eq!(open(&plain, &step, None).unwrap(), manifest());
        assert!(open(&plain, &step, Some(&ours)).unwrap_err().contains("not signed"));
        assert!(open(&signed, &StepKey::from_bytes([8; 32]), Some(&ours)).is_err());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let key = SigningKey::new("ours");
        let signed = seal(&manifest(), Some(&key)).unwrap();
        for place in 0..signed.len() {
            let mut changed = signed.clone();
            changed[place] ^= 1;
            assert!(open(&changed, &manifest().key, Some(&key)).is_err(), "{place}");
            assert!(open(&signed[..place], &manifest().key, Some(&key)).is_err(), "{place}");
        }
    }
}
