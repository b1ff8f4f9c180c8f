//! Every seed, every fixture and every input that once broke something, on the stable toolchain.
#![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

use std::path::{Path, PathBuf};

use refit_cache::{Digest, Entry, Manifest, StepKey, Tree};
use refit_fuzz::{TARGETS, Target};
use serde_json::json;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Tries every file in a folder and below; returns how many there are.
fn try_all(target: Target, folder: &Path) -> usize {
    let mut tried = 0;
    for entry in fs_err::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tried += try_all(target, &path);
        } else {
            target(&fs_err::read(&path).unwrap());
            tried += 1;
        }
    }
    tried
}

fn try_target(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap();
    assert!(try_all(target, &here("seeds").join(name)) > 0, "{name} has no seeds");
    try_all(target, &here("findings").join(name));
}

#[test]
fn pipeline_files_are_survived() {
    try_target("pipeline_file");
    for folder in ["../../engine/tests/valid", "../../engine/tests/invalid"] {
        let (_, target) = TARGETS[0];
        assert!(try_all(target, &here(folder)) > 0, "{folder} holds nothing");
    }
}

#[test]
fn manifests_are_survived() {
    try_target("manifest");
}

#[test]
fn lock_files_are_survived() {
    try_target("lock_file");
}

/// What a manifest can hold, as this build writes it. `INSTA_UPDATE=always` writes the seeds anew.
#[test]
fn seeds_are_manifests() {
    let mut plain = Manifest {
        format: refit_cache::MANIFEST_FORMAT,
        key: StepKey::from_bytes([7; 32]),
        kind: "clean".to_owned(),
        version: 2,
        params: json!({"dedup": "near", "min": 0.1, "seed": 7, "words": ["a", null, true]}),
        inputs: [("records".to_owned(), Digest::of(b"in"))].into(),
        outputs: [("records".to_owned(), Tree::file(Digest::of(b"out"), 3))].into(),
        log: None,
        facts: [("device".to_owned(), json!("cpu"))].into(),
        warnings: vec!["2 rows dropped".to_owned()],
        seconds: 0.25,
        peak_memory: 1 << 20,
        created: "2026-11-23T17:53:01Z".parse().unwrap(),
        run: "20261123T175301-4f2a9c".parse().unwrap(),
    };
    seed("plain.json", &plain);
    let entry = |path: &str, text: &str| Entry {
        path: path.to_owned(),
        digest: Digest::of(text.as_bytes()),
        bytes: text.len() as u64,
        executable: false,
    };
    plain.kind = "exec".to_owned();
    plain.outputs = [("out".to_owned(), Tree::folder(vec![entry("b/ü.txt", "b"), entry("a b", "a")]))].into();
    plain.log = Some(Tree::file(Digest::of(b"said"), 4));
    seed("folder-and-log.json", &plain);
}

fn seed(name: &str, manifest: &Manifest) {
    let file = here("seeds/manifest").join(name);
    let body = serde_json::to_vec_pretty(manifest).unwrap();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs_err::write(&file, &body).unwrap();
    }
    assert_eq!(fs_err::read(&file).unwrap(), body, "{name}");
}
