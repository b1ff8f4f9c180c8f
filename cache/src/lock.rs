use std::{
    collections::HashMap,
    fmt,
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::{Digest, Store, StoreError, error::At, index::Index, snapshot::Snapshot, stat::Stat};

/// What to do when another process holds the store.
pub enum Wait<'a> {
    /// Fails at once with [`StoreError::Locked`].
    Fail,
    /// Calls the function once with who holds it, then waits.
    Block(&'a mut dyn FnMut(&str)),
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "Fail",
            Self::Block(_) => "Block",
        })
    }
}

/// The right to commit to a store. It ends with this value, at the latest with the process: the operating system keeps
/// it, what stands in the file is for messages only.
#[derive(Debug)]
pub struct StoreLock {
    pub(crate) index: Arc<Index>,
    store: Store,
    /// The files measured since the store is held, for readers.
    measured: Mutex<HashMap<(u64, u64), (Stat, Digest)>>,
    // Fields are dropped in this order: the index is closed before another process may open it.
    file: File,
    root: PathBuf,
}

/// Who holds a store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Holder {
    /// What runs, such as `refit run pipelines/helpdesk`.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// When it took the store.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.round(Unit::Second).unwrap_or(self.since);
        write!(f, "`{}` (process {}, since {since})", self.name, self.pid)
    }
}

impl Store {
    /// Takes the right to commit. `holder` says what runs, for others who wait: `refit run pipelines/helpdesk`.
    pub fn lock(&self, holder: &str, wait: Wait<'_>) -> Result<StoreLock, StoreError> {
        let path = self.lock_file();
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).at("locking", &path)?;
        match (file.try_lock(), wait) {
            (Ok(()), _) => {}
            (Err(TryLockError::WouldBlock), Wait::Fail) => {
                return Err(StoreError::Locked { root: self.root().to_owned(), holder: read_holder(&mut file) });
            }
            (Err(TryLockError::WouldBlock), Wait::Block(tell)) => {
                tell(&read_holder(&mut file));
                block(&file, &path)?;
            }
            (Err(TryLockError::Error(error)), _) => return Err(lock_error(&path, error)),
        }
        let record = Holder { name: holder.to_owned(), pid: std::process::id(), since: Timestamp::now() };
        // On a full disk it cannot be written; `gc` must get the lock all the same.
        let _ = write_holder(&mut file, &record);
        self.clear_ingest_leftovers()?;
        Ok(StoreLock {
            index: Arc::new(Index::new(self)),
            store: self.clone(),
            measured: Mutex::default(),
            file,
            root: self.root().to_owned(),
        })
    }

    /// Who holds the store now, as far as the lock file tells. Takes no lock itself: even for a moment, that could make
    /// another process believe that the store is in use.
    pub fn holder(&self) -> Result<Option<Holder>, StoreError> {
        let path = self.lock_file();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        let holder = serde_json::from_slice::<Holder>(&text).ok();
        // A process that was killed left its name behind.
        Ok(holder.filter(|holder| is_alive(holder.pid)))
    }
}

impl StoreLock {
    /// What a person should know about the index: set aside, rebuilt, unusable. Each is handed out once.
    pub fn take_notices(&self) -> Vec<String> {
        self.index.take_notices()
    }

    /// Remembers files whose content is known, for those who read the store later.
    pub(crate) fn saw(&self, measured: impl Iterator<Item = (Stat, Digest)>) {
        self.measured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(measured.map(|(stat, digest)| (stat.place(), (stat, digest))));
    }

    /// The store that is held.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        self.index.close();
        Snapshot::keep(&self.store, &self.measured.lock().unwrap_or_else(PoisonError::into_inner));
        // Nobody holds it from here on; a name left in the file is shown to nobody.
        let _ = self.file.set_len(0);
        // Closing alone does not free it: a child that another thread starts right now has the file open, too, until it
        // becomes its own program.
        let _ = self.file.unlock();
    }
}

/// Waits for a lock on a file, whatever signals arrive.
pub(crate) fn block(file: &File, path: &Path) -> Result<(), StoreError> {
    loop {
        match file.lock() {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lock_error(path, error)),
        }
    }
}

fn lock_error(path: &Path, source: io::Error) -> StoreError {
    if source.kind() == io::ErrorKind::Unsupported {
        return StoreError::NoLocks { path: path.to_owned(), source };
    }
    StoreError::io("locking", path, source)
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let holder = file
        .rewind()
        .and_then(|()| file.take(64 << 10).read_to_string(&mut text))
        .ok()
        .and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string())
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // A process of another user is there, too.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}
