use refit_cache::{Digest, Manifest, StepKey, Tree};
use serde_json::Value;

/// Takes bytes as the file of a manifest, and as the manifest in a file whose check is right.
///
/// What decodes is that of the key, sound, and encodes to bytes that decode to the same.
pub fn manifest(bytes: &[u8]) {
    decode(bytes, key_in(bytes));
    decode(&sealed(bytes), key_in(bytes));
}

fn decode(file: &[u8], key: StepKey) {
    let manifest = match Manifest::decode(file, &key) {
        Ok(manifest) => manifest,
        Err(unreadable) => {
            assert!(!unreadable.to_string().is_empty(), "refused without a reason");
            return;
        }
    };
    assert_eq!(manifest.key, key);
    assert!(manifest.trees().all(Tree::is_sound));
    let again = manifest.encode().unwrap_or_else(|error| panic!("it does not encode: {error}"));
    match Manifest::decode(&again, &key) {
        Ok(same) => assert_eq!(same, manifest),
        Err(unreadable) => panic!("what was encoded does not decode: {unreadable}"),
    }
    let mut other = *key.as_bytes();
    other[0] ^= 1;
    assert!(Manifest::decode(&again, &StepKey::from_bytes(other)).is_err(), "it decodes under another key");
}

/// The file that holds `body` with the right check.
fn sealed(body: &[u8]) -> Vec<u8> {
    let check = Digest::of(body).to_string();
    [b"{\"check\":\"b3:", check.as_bytes(), b"\",\"manifest\":", body, b"}\n"].concat()
}

/// The key that the bytes speak of, so that they are not refused for being those of another one.
fn key_in(bytes: &[u8]) -> StepKey {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let manifest = value.get("manifest").unwrap_or(&value);
    manifest["key"].as_str().and_then(|key| key.parse().ok()).unwrap_or(StepKey::from_bytes([7; 32]))
}
