//! A store in a folder of its own, and steps that made things.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use refit_cache::{Digest, MANIFEST_FORMAT, Manifest, RunId, StepKey, Store, StoreLock, Tree, Wait};
use serde_json::json;
use tempfile::TempDir;

pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) store: Store,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::at(TempDir::new().unwrap())
    }

    /// In memory, where that looks like a disk: for very many files.
    pub(crate) fn in_memory() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap()))
    }

    fn at(folder: TempDir) -> Self {
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        Self { folder, store }
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn lock(&self) -> StoreLock {
        self.store.lock("a test", Wait::Fail).unwrap()
    }

    /// Writes files beside the store.
    pub(crate) fn write(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.path(name);
        write_files(&folder, files);
        folder
    }

    /// Runs a step that makes one folder.
    pub(crate) fn step(&self, lock: &StoreLock, name: &str, files: &[(&str, &[u8])]) -> Manifest {
        step(&self.store, lock, name, files, &RunId::now())
    }
}

pub(crate) fn write_files(folder: &Path, files: &[(&str, &[u8])]) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

pub(crate) fn key(name: &str) -> StepKey {
    StepKey::compute("test", 1, &json!({ "name": name }), &BTreeMap::new())
}

pub(crate) fn step(store: &Store, lock: &StoreLock, name: &str, files: &[(&str, &[u8])], run: &RunId) -> Manifest {
    let output = store.step_folder(&key(name)).join("outputs/made");
    write_files(&output, files);
    let tree = store.ingest(lock, &output).unwrap();
    assert!(!output.exists());
    let manifest = manifest(name, tree, run);
    store.commit(lock, &manifest).unwrap();
    fs::remove_dir_all(store.step_folder(&manifest.key)).unwrap();
    manifest
}

pub(crate) fn manifest(name: &str, tree: Tree, run: &RunId) -> Manifest {
    Manifest {
        format: MANIFEST_FORMAT,
        key: key(name),
        kind: "test".to_owned(),
        version: 1,
        params: json!({ "name": name }),
        inputs: BTreeMap::new(),
        outputs: [("made".to_owned(), tree)].into(),
        log: None,
        facts: BTreeMap::new(),
        warnings: Vec::new(),
        seconds: 0.1,
        peak_memory: 0,
        created: jiff::Timestamp::now(),
        run: run.clone(),
    }
}

/// The one object of a file with these bytes.
pub(crate) fn object(lab: &Lab, bytes: &[u8]) -> PathBuf {
    lab.store.object_path(&Digest::of(bytes))
}

/// Changes a file as a broken disk does, whatever its mode.
pub(crate) fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    make_writable(path);
    fs::write(path, bytes).unwrap();
}

pub(crate) fn make_writable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}
