use std::path::Path;

use walkdir::WalkDir;

use crate::{Store, StoreError, store::list_sharded};

/// What a store takes on disk. Bytes are those of the files, not of the disk blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files of artifacts.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Results that can be found by key.
    pub manifests: u64,
    /// Their manifests' bytes.
    pub manifest_bytes: u64,
    /// Runs that are on record.
    pub runs: u64,
    /// Bytes of their records.
    pub run_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes in the folders of steps: what running or killed steps work with.
    pub scratch_bytes: u64,
    /// Damaged files that were moved aside.
    pub quarantined: u64,
    /// Their bytes.
    pub quarantine_bytes: u64,
}

impl Usage {
    /// All bytes.
    pub fn total_bytes(&self) -> u64 {
        self.object_bytes
            + self.manifest_bytes
            + self.run_bytes
            + self.index_bytes
            + self.scratch_bytes
            + self.quarantine_bytes
    }
}

impl Store {
    /// What the store takes on disk. Needs no lock; files that go away meanwhile are not counted.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let (manifests, manifest_bytes) = below(&self.folder("manifests"));
        let (quarantined, quarantine_bytes) = below(&self.folder("quarantine"));
        Ok(Usage {
            objects: list_sharded(&self.folder("objects"), "")?.len() as u64,
            object_bytes: below(&self.folder("objects")).1,
            manifests,
            manifest_bytes,
            runs: self.runs()?.len() as u64,
            run_bytes: below(&self.folder("runs")).1,
            index_bytes: below(&self.index_folder()).1,
            scratch_bytes: below(&self.tmp()).1,
            quarantined,
            quarantine_bytes,
        })
    }
}

/// Number and bytes of all files below a folder.
pub(crate) fn below(folder: &Path) -> (u64, u64) {
    let files = WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files.flat_map(|entry| entry.metadata()).fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.len()))
}
