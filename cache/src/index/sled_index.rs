use std::{
    collections::BTreeSet,
    fmt,
    fs::{File, TryLockError},
    mem,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::entry::{Damaged, decode_measure, encode_measure, seal, stat_key, unseal};
use crate::{Digest, Manifest, StepKey, Store, quiet::quietly, stat::Stat, store::STORE_FORMAT};

/// Raised with every change of what the trees hold.
const INDEX_FORMAT: u32 = 1;

/// sled keeps up to a gigabyte in memory unless told otherwise.
const MEMORY: u64 = 16 << 20;

/// How long the files may still be held by who closed them.
const PATIENCE: Duration = Duration::from_secs(3);

/// stat → digest, and key → manifest, in sled.
///
/// Whatever goes wrong with it, it is set aside, filled anew from the manifests, and said so. If even that fails, the
/// store works without. It is opened when it is first asked: not everybody who holds the store needs it.
pub(crate) struct Index {
    store: Store,
    trees: Mutex<State>,
    notices: Mutex<Vec<String>>,
}

/// What has become of the files.
enum State {
    Untouched,
    Open(Trees),
    /// They are closed, or unusable.
    Gone,
}

struct Trees {
    db: sled::Db,
    measures: sled::Tree,
    manifests: sled::Tree,
    /// The index was empty when it was opened.
    is_new: bool,
}

const FORMAT_KEY: &[u8] = b"format";

/// What went wrong inside the index.
type Trouble = String;

impl Index {
    /// The index of a store that the caller holds.
    pub(crate) fn new(store: &Store) -> Self {
        let index = Self { store: store.clone(), trees: Mutex::new(State::Untouched), notices: Mutex::default() };
        // What is missing is made at once: later, a result of the caller's own would count as one that had been there.
        if !store.index_folder().exists() {
            drop(index.trees());
        }
        index
    }

    fn open(&self, trees: &mut State) {
        let folder = self.store.index_folder();
        if !released(&folder) {
            *trees = State::Gone;
            return self.notice(format!(
                "the index {} is held by another program; going on without it, which is slower",
                folder.display()
            ));
        }
        match Trees::open(&folder) {
            Ok(opened) => {
                let is_new = opened.is_new;
                *trees = State::Open(opened);
                let filled = if is_new { self.fill(trees) } else { 0 };
                if filled > 0 {
                    self.notice(format!("the index of the store was gone; it was rebuilt from {filled} manifests"));
                }
            }
            Err(trouble) => self.replace(trees, &trouble),
        }
    }

    /// The digests of files that look as they did when they were hashed; `None` for any other.
    pub(crate) fn digests(&self, stats: &[Stat]) -> Vec<Option<Digest>> {
        self.with(|trees| {
            stats
                .iter()
                .map(|stat| match trees.measures.get(stat_key(stat)).map_err(|error| error.to_string())? {
                    Some(value) => decode_measure(stat, &value).map_err(damaged),
                    None => Ok(None),
                })
                .collect()
        })
        .unwrap_or_else(|| vec![None; stats.len()])
    }

    /// Remembers the digests of files.
    pub(crate) fn remember(&self, measures: &[(Stat, Digest)]) {
        self.with(|trees| {
            let mut batch = sled::Batch::default();
            for (stat, digest) in measures {
                batch.insert(&stat_key(stat), encode_measure(stat, digest));
            }
            trees.measures.apply_batch(batch).map_err(|error| error.to_string())
        });
    }

    /// Remembers that a manifest was committed.
    pub(crate) fn insert(&self, manifest: &Manifest) {
        self.with(|trees| trees.insert(manifest));
    }

    /// Forgets manifests that were dropped on purpose.
    pub(crate) fn forget(&self, keys: &[StepKey]) {
        self.with(|trees| {
            for key in keys {
                trees.manifests.remove(key.as_bytes()).map_err(|error| error.to_string())?;
            }
            Ok(())
        });
    }

    /// The keys of all manifests that were committed and not dropped since the index was made.
    pub(crate) fn keys(&self) -> BTreeSet<StepKey> {
        self.with(Trees::keys).unwrap_or_default()
    }

    /// Writes down what is still in memory.
    pub(crate) fn flush(&self) {
        self.with(|trees| trees.db.flush().map(drop).map_err(|error| error.to_string()));
    }

    /// Writes down what is still in memory and lets go of the files.
    pub(crate) fn close(&self) {
        if let State::Open(trees) = mem::replace(&mut *locked(&self.trees), State::Gone) {
            // If this fails the next opening finds out and rebuilds.
            let _ = quietly(|| trees.db.flush().is_ok());
            let _ = quietly(|| drop(trees));
        }
    }

    pub(crate) fn take_notices(&self) -> Vec<String> {
        drop(self.trees());
        mem::take(&mut *locked(&self.notices))
    }

    /// Does something with the trees, and once more with new ones if they turn out damaged.
    fn with<T>(&self, f: impl Fn(&Trees) -> Result<T, Trouble>) -> Option<T> {
        let mut trees = self.trees();
        for _ in 0..2 {
            let State::Open(open) = &*trees else { break };
            match quietly(|| f(open)).flatten() {
                Ok(value) => return Some(value),
                Err(trouble) => self.replace(&mut trees, &trouble),
            }
        }
        None
    }

    /// Sets damaged files aside and starts anew.
    fn replace(&self, trees: &mut State, trouble: &str) {
        if let State::Open(damaged) = mem::replace(trees, State::Gone) {
            let _ = quietly(|| drop(damaged));
        }
        let folder = self.store.index_folder();
        let aside = self.store.quarantine(&folder);
        failpoint!("index: the damaged one is set aside");
        if aside == folder && folder.exists() {
            return self.notice(format!(
                "the index {} is unusable ({trouble}) and cannot be moved away; going on without it, which is slower",
                folder.display()
            ));
        }
        match Trees::open(&folder) {
            Ok(new) => {
                self.notice(format!(
                    "the index of the store was damaged ({trouble}); it was moved to {} and is rebuilt from the manifests",
                    aside.display()
                ));
                *trees = State::Open(new);
                self.fill(trees);
            }
            Err(again) => self.notice(format!(
                "the index of the store cannot be opened ({again}); going on without it, which is slower"
            )),
        }
    }

    /// Fills new trees from the manifests on disk.
    fn fill(&self, trees: &mut State) -> usize {
        let State::Open(open) = &*trees else { return 0 };
        failpoint!("index: a new one is there");
        let filled = match self.store.manifests() {
            Ok(manifests) => quietly(|| manifests.iter().try_for_each(|found| open.insert(found)))
                .flatten()
                .map(|()| manifests.len()),
            Err(error) => Err(error.to_string()),
        };
        failpoint!("index: the new one is filled");
        filled.unwrap_or_else(|trouble| {
            self.notice(format!("the index of the store could not be rebuilt ({trouble}); going on without it"));
            if let State::Open(trees) = mem::replace(trees, State::Gone) {
                let _ = quietly(|| drop(trees));
            }
            0
        })
    }

    fn notice(&self, notice: String) {
        locked(&self.notices).push(notice);
    }

    fn trees(&self) -> MutexGuard<'_, State> {
        let mut trees = locked(&self.trees);
        if matches!(*trees, State::Untouched) {
            self.open(&mut trees);
        }
        trees
    }
}

impl Trees {
    fn open(folder: &Path) -> Result<Self, Trouble> {
        quietly(|| {
            // No thread that flushes now and then: what counts is flushed when it is committed.
            let config = sled::Config::new().path(folder).cache_capacity(MEMORY).flush_every_ms(None);
            let db = config.mode(sled::Mode::LowSpace).open().map_err(|error| error.to_string())?;
            let format = [STORE_FORMAT.to_le_bytes(), INDEX_FORMAT.to_le_bytes()].concat();
            let found = db.get(FORMAT_KEY).map_err(|error| error.to_string())?;
            match &found {
                None if db.was_recovered() => return Err("it says no format".to_owned()),
                None => drop(db.insert(FORMAT_KEY, seal(FORMAT_KEY, format)).map_err(|error| error.to_string())?),
                Some(found) if unseal(FORMAT_KEY, found).map_err(damaged)? != format => {
                    return Err("it has another format".to_owned());
                }
                Some(_) => {}
            }
            let measures = db.open_tree("measures").map_err(|error| error.to_string())?;
            let manifests = db.open_tree("manifests").map_err(|error| error.to_string())?;
            Ok(Self { db, measures, manifests, is_new: found.is_none() })
        })
        .flatten()
    }

    fn insert(&self, manifest: &Manifest) -> Result<(), Trouble> {
        let key = manifest.key.as_bytes();
        let made = manifest.created.as_second().to_le_bytes().to_vec();
        self.manifests.insert(key, seal(key, made)).map(drop).map_err(|error| error.to_string())
    }

    fn keys(&self) -> Result<BTreeSet<StepKey>, Trouble> {
        let mut keys = BTreeSet::new();
        for entry in &self.manifests {
            let (key, value) = entry.map_err(|error| error.to_string())?;
            unseal(&key, &value).map_err(damaged)?;
            let key: [u8; 32] = key.as_ref().try_into().map_err(|_| damaged(Damaged))?;
            keys.insert(StepKey::from_bytes(key));
        }
        Ok(keys)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Whether nobody holds the files, after a while of waiting. Who holds the store is the only one to open them, but sled
/// writes in threads of its own, which may end a little later than the database is closed; and a file that is in use is
/// not a damaged one.
fn released(folder: &Path) -> bool {
    // What cannot be opened is told by sled.
    let Ok(file) = File::open(folder.join("db")) else { return true };
    let start = Instant::now();
    while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

fn damaged(_: Damaged) -> Trouble {
    "a value has a wrong checksum".to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
