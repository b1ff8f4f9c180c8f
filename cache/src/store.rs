use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Digest, RunId, StepKey, StoreError, durable::write_atomic, error::At, snapshot::Snapshot};

/// The layout this build reads and writes.
pub(crate) const STORE_FORMAT: u32 = 1;

/// A store on disk: objects, manifests, runs. Cheap to clone; any number of readers work beside one committing run.
///
/// ```text
/// .refit/  format  lock  .gitignore  config.toml  config.local.toml
///   objects/ab/cdef…        one file of an artifact, by its digest, read-only
///   manifests/ab/cdef….json what a step made, by its key
///   manifests/ab/cdef….OUTPUTS.json  what it made before, where it made something else since
///   runs/ID/                what a run planned, did and reported
///   exports/                what was last copied out to where
///   pins/                   what `gc` keeps whatever it is asked for
///   index/                  sled: can be deleted at any time
///   measured                what was measured lately, for readers: can be deleted at any time
///   kernels/                which kernels are the fastest on a GPU: can be deleted at any time
///   tmp/step-KEY/           where steps work
///   quarantine/             what was found damaged
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Whether a file of the store was found not to share its blocks with another one here: that is not tried again.
    no_reflinks: Arc<AtomicBool>,
    snapshot: Arc<OnceLock<Snapshot>>,
}

const FOLDERS: [&str; 8] = ["objects", "manifests", "runs", "exports", "pins", "recall", "tmp", "quarantine"];
const FORMAT_FILE: &str = "format";
const IGNORE_FILE: &str = ".gitignore";
/// What belongs into a repository: the settings that a project shares. They may be there before the store is.
const SHARED_FILE: &str = "config.toml";
/// The settings of one user, likewise.
const LOCAL_FILE: &str = "config.local.toml";
/// Nothing else does, not even this file.
const IGNORED: &str = "*\n!config.toml\n";
/// What stood there before settings could be shared.
const ONCE_IGNORED: &str = "*\n";
const LOCK_FILE: &str = "lock";
const INDEX_FOLDER: &str = "index";

impl Store {
    /// Opens the store whose own folder is `root` (usually named `.refit`), making it if it is not there.
    ///
    /// A folder that holds other things is refused.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(root).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                StoreError::NotAStore { root: root.to_owned(), what: "it is a file".to_owned() }
            }
            _ => StoreError::io("creating", root, error),
        })?;
        let store = Self {
            root: root.canonicalize().at("opening", root)?,
            no_reflinks: Arc::default(),
            snapshot: Arc::default(),
        };
        if !store.check_format()? {
            match store.check_unused() {
                Ok(()) => store.write_ignore_file()?,
                // Another engine made it meanwhile.
                Err(_) if store.check_format()? => {}
                Err(error) => return Err(error),
            }
        }
        for folder in FOLDERS {
            let folder = store.root.join(folder);
            std::fs::create_dir_all(&folder).at("creating", &folder)?;
        }
        if !store.root.join(FORMAT_FILE).exists() {
            write_atomic(&store.root.join(FORMAT_FILE), format!("{STORE_FORMAT}\n").as_bytes())?;
        }
        Ok(store)
    }

    /// Makes the folder of a store a place for files of settings, of which git sees only the shared one. No store is made.
    pub fn prepare_settings(root: &Path) -> Result<(), StoreError> {
        std::fs::create_dir_all(root).at("creating", root)?;
        Self { root: root.to_owned(), no_reflinks: Arc::default(), snapshot: Arc::default() }.write_ignore_file()
    }

    /// Opens a store for reading. Creates nothing and works on a read-only disk.
    pub fn open_existing(root: &Path) -> Result<Self, StoreError> {
        let no_store = || StoreError::NoStore { root: root.to_owned() };
        let store = Self {
            root: root.canonicalize().map_err(|_| no_store())?,
            no_reflinks: Arc::default(),
            snapshot: Arc::default(),
        };
        if store.check_format()? { Ok(store) } else { Err(no_store()) }
    }

    /// What was measured by those who held the store, as it was written down when it is first asked for.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| Snapshot::read(self))
    }

    /// The store's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the step of a key works: the same folder at every try, so that a killed step finds what it left. Not created
    /// here.
    pub fn step_folder(&self, key: &StepKey) -> PathBuf {
        self.tmp().join(format!("step-{key}"))
    }

    /// The folder of a run.
    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        self.folder("runs").join(run.as_str())
    }

    /// The file that holds an object.
    pub fn object_path(&self, object: &Digest) -> PathBuf {
        sharded(&self.folder("objects"), &object.to_string(), "")
    }

    /// The file that holds the manifest of a key.
    pub fn manifest_path(&self, key: &StepKey) -> PathBuf {
        sharded(&self.folder("manifests"), &key.to_string(), ".json")
    }

    pub(crate) fn may_reflink(&self) -> bool {
        !self.no_reflinks.load(Ordering::Relaxed)
    }

    pub(crate) fn cannot_reflink(&self) {
        self.no_reflinks.store(true, Ordering::Relaxed);
    }

    pub(crate) fn folder(&self, name: &'static str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.folder("tmp")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join(LOCK_FILE)
    }

    pub(crate) fn index_folder(&self) -> PathBuf {
        self.root.join(INDEX_FOLDER)
    }

    /// Whether the folder says that it is a store; an error if one of another format.
    fn check_format(&self) -> Result<bool, StoreError> {
        let path = self.root.join(FORMAT_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        match text.trim().parse() {
            Ok(STORE_FORMAT) => Ok(true),
            Ok(found) => Err(StoreError::Format { root: self.root.clone(), found, known: STORE_FORMAT }),
            Err(_) => Err(StoreError::NotAStore {
                root: self.root.clone(),
                what: format!("its file `{FORMAT_FILE}` holds no number"),
            }),
        }
    }

    /// Writes what git is not to see, unless the user has written something else there.
    fn write_ignore_file(&self) -> Result<(), StoreError> {
        let path = self.root.join(IGNORE_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) if text != ONCE_IGNORED => Ok(()),
            _ => write_atomic(&path, IGNORED.as_bytes()),
        }
    }

    /// Refuses a folder with contents of others. What a killed `open` left is fine.
    fn check_unused(&self) -> Result<(), StoreError> {
        for entry in std::fs::read_dir(&self.root).at("reading", &self.root)? {
            let name = entry.at("reading", &self.root)?.file_name();
            let name = name.to_string_lossy();
            let ours = FOLDERS.contains(&&*name)
                || [IGNORE_FILE, FORMAT_FILE, SHARED_FILE, LOCAL_FILE].contains(&&*name)
                || name.starts_with(".refit-");
            if !ours {
                let what = format!("it has no file `{FORMAT_FILE}` but holds `{name}`");
                return Err(StoreError::NotAStore { root: self.root.clone(), what });
            }
        }
        Ok(())
    }
}

/// `ab/cdef…`: a folder with very many names is slow on some file systems.
fn sharded(folder: &Path, hex: &str, extension: &str) -> PathBuf {
    let (shard, name) = hex.split_at(2);
    folder.join(shard).join(format!("{name}{extension}"))
}

/// All files below a folder of shards, as (the hexadecimal digits, the path). What has another name is passed over.
pub(crate) fn list_sharded(folder: &Path, extension: &str) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for (shard, path) in names(folder)? {
        if shard.len() != 2 || !path.is_dir() {
            continue;
        }
        for (name, path) in names(&path)? {
            if let Some(rest) = name.strip_suffix(extension) {
                found.push((format!("{shard}{rest}"), path));
            }
        }
    }
    Ok(found)
}

/// What a folder holds, sorted by name; nothing if it is not there. Names that are not UTF-8 are none of ours.
pub(crate) fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("reading", folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.at("reading", folder)?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, entry.path()));
        }
    }
    names.sort_unstable();
    Ok(names)
}
