use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rayon::prelude::*;

use crate::{
    Digest, Entry, Store, StoreError, StoreLock, Tree,
    durable::{Dirty, folder_of, make_folder, rename, rename_temporary},
    error::At,
    failpoint,
    hashing::hash_file,
    object::{Check, ObjectState, mark},
    stat::{Stat, changed, is_older},
    store::names,
    walk::{self, Found, Links},
};

/// Copies on their way into the objects; only the holder of the lock makes them.
pub(crate) const INGEST_PREFIX: &str = "ingest-";

/// An object that was there before, and for so long, is on the disk: the system writes everything out within a minute.
const WRITTEN_OUT: Duration = Duration::from_hours(1);

/// An output that became objects. They can be read, but a loss of power may take them away until they are synced:
/// [`Committer`](crate::Committer) does that before the manifest says that they are there.
#[derive(Debug)]
#[must_use = "what is not committed is an object of no result"]
pub struct Taken {
    /// What was taken in.
    pub tree: Tree,
    pub(crate) dirty: Dirty,
}

impl Store {
    /// Moves a step's finished output (file or folder) into the objects, durably. `path` is gone afterwards.
    ///
    /// Links that stay in the folder become copies; one that leads out of it is an error, and so is anything that is
    /// neither a file nor a folder.
    pub fn ingest(&self, lock: &StoreLock, path: &Path) -> Result<Tree, StoreError> {
        let taken = self.take_in(lock, path)?;
        taken.dirty.sync()?;
        failpoint!("ingest: all is synced");
        Ok(taken.tree)
    }

    /// As [`ingest`](Self::ingest), but does not wait for the disk.
    pub fn take_in(&self, _lock: &StoreLock, path: &Path) -> Result<Taken, StoreError> {
        let metadata = path.symlink_metadata().at("reading", path)?;
        let dirty = Mutex::default();
        let tree = if metadata.is_dir() {
            let mut found = walk::files(path, Links::Inside, None)?;
            // Copies first: a link's target must still be there.
            found.sort_by_key(|file| !file.shared);
            let entries = found
                .par_iter()
                .map(|file| {
                    let (digest, bytes) = hash_file(&file.path).at("reading", &file.path)?;
                    Ok(Entry { path: file.relative.clone(), digest, bytes, executable: file.executable })
                })
                .collect::<Result<Vec<_>, StoreError>>()?;
            let shared = found.partition_point(|file| file.shared);
            for range in [0..shared, shared..found.len()] {
                found[range.clone()]
                    .par_iter()
                    .zip(&entries[range])
                    .try_for_each(|(file, entry)| self.take_file(file, entry.digest, entry.bytes, &dirty))?;
            }
            Tree::folder(entries)
        } else if metadata.is_file() {
            let file = Found {
                relative: String::new(),
                path: path.to_owned(),
                stat: Stat::of(&metadata),
                shared: walk::is_shared(&metadata),
                executable: walk::is_executable(&metadata),
            };
            let (digest, bytes) = hash_file(path).at("reading", path)?;
            self.take_file(&file, digest, bytes, &dirty)?;
            if file.executable { Tree::executable(digest, bytes) } else { Tree::file(digest, bytes) }
        } else if metadata.is_symlink() {
            let target = path.canonicalize().map_err(|_| StoreError::BrokenLink { link: path.to_owned() })?;
            return Err(StoreError::LinkLeavesOutput { link: path.to_owned(), target });
        } else {
            return Err(StoreError::NotAFile { path: path.to_owned() });
        };
        failpoint!("ingest: all are objects");
        remove(path)?;
        Ok(Taken { tree, dirty: dirty.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Makes one file an object, unless it is one already.
    fn take_file(&self, file: &Found, digest: Digest, bytes: u64, dirty: &Mutex<Dirty>) -> Result<(), StoreError> {
        let object = self.object_path(&digest);
        if self.check_object(digest, bytes, Check::Bytes)? == ObjectState::Sound {
            note_sound(&object, &mut locked(dirty));
            return Ok(());
        }
        let mut names = Dirty::default();
        make_folder(folder_of(&object), &mut names)?;
        let moved = !file.shared && {
            settle(&file.path, digest).at("writing", &file.path)?;
            failpoint!("ingest: a file is settled");
            failpoint::wrote(&file.path);
            match rename(&file.path, &object) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => false,
                Err(error) => return Err(StoreError::io("writing", &object, error)),
            }
        };
        if !moved {
            self.copy_in(&file.path, digest, &object)?;
        }
        failpoint!("ingest: a file is an object");
        names.file(&object);
        names.folder(folder_of(&object));
        locked(dirty).extend(names);
        Ok(())
    }

    /// Copies a file that may not be moved. The copy is hashed: other names of the file may be written to meanwhile.
    fn copy_in(&self, from: &Path, digest: Digest, object: &Path) -> Result<(), StoreError> {
        let tmp = self.tmp();
        let mut copy =
            tempfile::Builder::new().prefix(INGEST_PREFIX).tempfile_in(&tmp).at("creating a file in", &tmp)?;
        let mut source = File::open(from).at("reading", from)?;
        io::copy(&mut source, &mut copy).at("writing", copy.path())?;
        if hash_file(copy.path()).at("reading", copy.path())?.0 != digest {
            return Err(StoreError::ChangedWhileRead { path: from.to_owned() });
        }
        settle(copy.path(), digest).at("writing", copy.path())?;
        failpoint!("ingest: a copy is settled");
        failpoint::wrote(copy.path());
        rename_temporary(copy, object)
    }

    /// Removes copies that a killed process left. The caller holds the lock, so nobody is making one.
    pub(crate) fn clear_ingest_leftovers(&self) -> Result<(), StoreError> {
        for (name, path) in names(&self.tmp())? {
            if name.starts_with(INGEST_PREFIX) {
                std::fs::remove_file(&path).at("removing", &path)?;
            }
        }
        Ok(())
    }
}

/// Read-only and with its object's time: the state in which a file becomes an object.
pub(crate) fn settle(path: &Path, digest: Digest) -> io::Result<()> {
    let file = File::open(path)?;
    file.set_permissions(Permissions::from_mode(0o444))?;
    mark(&file, digest)
}

/// An object that is there may have been put there by a process that was killed before it was synced.
pub(crate) fn note_sound(object: &Path, dirty: &mut Dirty) {
    let since = object.symlink_metadata().ok().as_ref().and_then(changed);
    if !since.is_some_and(|since| is_older(since, WRITTEN_OUT)) {
        dirty.file(object);
        dirty.folder(folder_of(object));
        dirty.folder(folder_of(folder_of(object)));
    }
}

fn locked(dirty: &Mutex<Dirty>) -> MutexGuard<'_, Dirty> {
    dirty.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what is left of an output.
fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    };
    removed.at("removing", path)
}
