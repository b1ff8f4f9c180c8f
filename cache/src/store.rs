use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Digest, Manifest, RunId, StepKey, StoreError, Tree};

/// A store on disk: objects, manifests, runs. Cheap to clone; any number of readers work beside one committing run.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What to do when another process holds the store.
pub enum Wait<'a> {
    /// Fails at once with [`StoreError::Locked`].
    Fail,
    /// Calls the function once with who holds it, then waits.
    Block(&'a mut dyn FnMut(&str)),
}

/// The right to commit to a store. It ends with this value, at the latest with the process.
#[derive(Debug)]
pub struct StoreLock {
    root: PathBuf,
}

impl StoreLock {
    /// What a person should know about the index: set aside, rebuilt, unusable. Each is handed out once.
    pub fn take_notices(&self) -> Vec<String> {
        todo!()
    }
}

/// What the store holds for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// A result, and all of it is there.
    Hit(Box<Manifest>),
    /// Nothing was ever committed, or it was dropped.
    Absent,
    /// A result of which an object is gone.
    Missing {
        /// What was committed.
        manifest: Box<Manifest>,
        /// The first object that is gone.
        object: Digest,
    },
    /// A result that was damaged on disk. What is damaged was moved aside.
    Corrupt {
        /// What was committed, unless the manifest itself is damaged.
        manifest: Option<Box<Manifest>>,
        /// The damaged object, unless it is the manifest.
        object: Option<Digest>,
        /// One sentence: what is damaged and where it lies now.
        what: String,
    },
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// The content was written.
    Written,
    /// The content was there already.
    Unchanged,
}

/// What `gc` keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPolicy {
    /// The newest runs, whose results all stay.
    pub keep_runs: usize,
    /// Of the other results, those used longer ago than this go. `None`: all of them go.
    pub older_than: Option<Duration>,
    /// If more bytes are left, the least recently used of the other results go until this is met.
    pub max_size: Option<u64>,
    /// Only says what would go.
    pub dry_run: bool,
}

/// What `gc` dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {}

/// What `verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {}

/// What a store takes on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {}

impl Store {
    /// Opens the store whose own folder is `root` (usually named `.refit`), making it if it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Opens a store for reading. Creates nothing and works on a read-only disk.
    pub fn open_existing(root: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// The store's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the right to commit. `holder` says what runs, for others who wait: `refit run pipelines/helpdesk`.
    pub fn lock(&self, holder: &str, wait: Wait<'_>) -> Result<StoreLock, StoreError> {
        todo!()
    }

    /// The digest of a source file or folder. With the lock, unchanged files are not read again.
    pub fn measure(&self, path: &Path, lock: Option<&StoreLock>) -> Result<Tree, StoreError> {
        todo!()
    }

    /// Moves a step's finished output (file or folder) into the objects. `path` is gone afterwards.
    pub fn ingest(&self, lock: &StoreLock, path: &Path) -> Result<Tree, StoreError> {
        todo!()
    }

    /// Makes a result findable; all its objects were ingested before.
    pub fn commit(&self, lock: &StoreLock, manifest: &Manifest) -> Result<(), StoreError> {
        todo!()
    }

    /// What the store holds for a key. Never a hit with an object that is missing or known to be damaged.
    pub fn lookup(&self, key: &StepKey) -> Result<Lookup, StoreError> {
        todo!()
    }

    /// The manifest of a key, if there is one. Objects are not looked at.
    pub fn manifest(&self, key: &StepKey) -> Result<Option<Manifest>, StoreError> {
        todo!()
    }

    /// Lays an artifact out at `to`, read-only, for a worker. Every object is hashed first.
    pub fn hydrate(&self, tree: &Tree, to: &Path) -> Result<(), StoreError> {
        todo!()
    }

    /// Writes an independent copy for the user, replacing what an earlier export wrote there.
    pub fn export(&self, tree: &Tree, to: &Path, lock: Option<&StoreLock>) -> Result<Exported, StoreError> {
        todo!()
    }

    /// Where the step of a key works: the same folder at every try. Not created here.
    pub fn step_folder(&self, key: &StepKey) -> PathBuf {
        todo!()
    }

    /// Creates the folder of a run that begins now; its id sorts after all others.
    pub fn create_run(&self, lock: &StoreLock) -> Result<RunId, StoreError> {
        todo!()
    }

    /// The folder of a run.
    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        todo!()
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        todo!()
    }

    /// The one run that a prefix of its id names.
    pub fn find_run(&self, prefix: &str) -> Result<RunId, StoreError> {
        todo!()
    }

    /// Drops what no kept run needs.
    pub fn gc(&self, lock: &StoreLock, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        todo!()
    }

    /// Hashes every object and checks every manifest; moves aside what is damaged.
    pub fn verify(&self, lock: Option<&StoreLock>) -> Result<VerifyReport, StoreError> {
        todo!()
    }

    /// What the store takes on disk.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        todo!()
    }
}

/// Writes a file so that a crash leaves the old or the new content, never a part: temporary file, fsync, rename, fsync
/// of the folder.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    todo!()
}
