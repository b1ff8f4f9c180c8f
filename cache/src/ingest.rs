use std::{
    collections::BTreeSet,
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rayon::prelude::*;

use crate::{
    Digest, Entry, Store, StoreError, StoreLock, Tree,
    durable::{folder_of, sync_folder},
    error::At,
    hashing::hash_file,
    object::{Check, ObjectState, mark},
    stat::Stat,
    store::names,
    walk::{self, Found, Links},
};

/// Copies on their way into the objects; only the holder of the lock makes them.
const INGEST_PREFIX: &str = "ingest-";

/// Folders that got new names and must be synced before the manifest says so.
type Touched = Mutex<BTreeSet<PathBuf>>;

impl Store {
    /// Moves a step's finished output (file or folder) into the objects, durably. `path` is gone afterwards.
    ///
    /// Links that stay in the folder become copies; one that leads out of it is an error, and so is anything that is
    /// neither a file nor a folder.
    pub fn ingest(&self, _lock: &StoreLock, path: &Path) -> Result<Tree, StoreError> {
        let metadata = path.symlink_metadata().at("reading", path)?;
        let touched = Touched::default();
        let tree = if metadata.is_dir() {
            let mut found = walk::files(path, Links::Inside, None)?;
            // Copies first: a link's target must still be there.
            found.sort_by_key(|file| !file.shared);
            let entries = found
                .par_iter()
                .map(|file| {
                    let (digest, bytes) = hash_file(&file.path).at("reading", &file.path)?;
                    Ok(Entry { path: file.relative.clone(), digest, bytes })
                })
                .collect::<Result<Vec<_>, StoreError>>()?;
            let shared = found.partition_point(|file| file.shared);
            for range in [0..shared, shared..found.len()] {
                found[range.clone()]
                    .par_iter()
                    .zip(&entries[range])
                    .try_for_each(|(file, entry)| self.take_in(file, entry.digest, entry.bytes, &touched))?;
            }
            Tree::folder(entries)
        } else if metadata.is_file() {
            let file = Found {
                relative: String::new(),
                path: path.to_owned(),
                stat: Stat::of(&metadata),
                shared: walk::is_shared(&metadata),
            };
            let (digest, bytes) = hash_file(path).at("reading", path)?;
            self.take_in(&file, digest, bytes, &touched)?;
            Tree::file(digest, bytes)
        } else if metadata.is_symlink() {
            let target = path.canonicalize().map_err(|_| StoreError::BrokenLink { link: path.to_owned() })?;
            return Err(StoreError::LinkLeavesOutput { link: path.to_owned(), target });
        } else {
            return Err(StoreError::NotAFile { path: path.to_owned() });
        };
        for folder in touched.into_inner().unwrap_or_else(PoisonError::into_inner) {
            sync_folder(&folder)?;
        }
        remove(path)?;
        Ok(tree)
    }

    /// Makes one file an object, unless it is one already.
    fn take_in(&self, file: &Found, digest: Digest, bytes: u64, touched: &Touched) -> Result<(), StoreError> {
        if self.check_object(digest, bytes, Check::Bytes)? == ObjectState::Sound {
            return Ok(());
        }
        let object = self.object_path(&digest);
        let shard = folder_of(&object);
        std::fs::create_dir_all(shard).at("creating", shard)?;
        let moved = !file.shared && {
            settle(&file.path, digest).at("writing", &file.path)?;
            match std::fs::rename(&file.path, &object) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => false,
                Err(error) => return Err(StoreError::io("writing", &object, error)),
            }
        };
        if !moved {
            self.copy_in(&file.path, digest, &object)?;
        }
        let mut touched = touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.insert(folder_of(shard).to_owned());
        touched.insert(shard.to_owned());
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
        copy.persist(object).map_err(|error| error.error).at("writing", object).map(drop)
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

/// Read-only, with its object's time, and durable: the state in which a file becomes an object.
fn settle(path: &Path, digest: Digest) -> io::Result<()> {
    let file = File::open(path)?;
    file.set_permissions(Permissions::from_mode(0o444))?;
    mark(&file, digest)?;
    file.sync_all()
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
