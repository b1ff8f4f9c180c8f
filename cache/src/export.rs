use std::{
    ffi::OsString,
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rayon::prelude::*;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use crate::{
    Content, Digest, Store, StoreError, StoreLock, Tree,
    durable::{Dirty, folder_of, sync_folder, write_atomic},
    error::At,
    hydrate::make_folders,
    stat::{changed, is_older},
};

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exported {
    /// The content was written.
    Written,
    /// The content was there already.
    Unchanged,
}

/// What was last copied out to a place: it may be replaced as long as it is still that.
#[derive(Debug, Serialize, Deserialize)]
struct ExportRecord {
    to: PathBuf,
    digest: Digest,
    /// What was replaced: it may still stand there if the export was killed.
    #[serde(default)]
    replaced: Option<Digest>,
}

/// An export that did not go on for so long was killed.
const ABANDONED: Duration = Duration::from_hours(24);

/// At most this many files are named when an export is refused.
const NAMED_FILES: usize = 5;

impl Store {
    /// Writes an independent copy for the user: beside `to` first, then both change places.
    ///
    /// What stands at `to` is replaced if it is what an earlier export wrote, or if each of its files is an object of the
    /// store, so that nothing is lost. Anything else is left alone and the error is [`StoreError::NotOurs`]. A link at `to`
    /// is followed.
    pub fn export(&self, tree: &Tree, to: &Path, lock: Option<&StoreLock>) -> Result<Exported, StoreError> {
        if !tree.is_sound() {
            return Err(StoreError::UnsoundTree { tree: tree.digest });
        }
        let to = resolve(to)?;
        let mut replaced = None;
        if to.symlink_metadata().is_ok() {
            let there = self.measure_copy(&to, lock)?;
            if there.digest == tree.digest {
                return Ok(Exported::Unchanged);
            }
            self.check_replaceable(&there, &to)?;
            replaced = Some(there.digest);
        }
        let folder = folder_of(&to);
        clear_abandoned(folder, &staging_prefix(&to));
        let staged = tempfile::Builder::new()
            .prefix(&staging_prefix(&to))
            .tempdir_in(folder)
            .at("creating a folder in", folder)?;
        let copy = staged.path().join("copy");
        self.copy_out(tree, &copy)?;
        failpoint!("export: the copy is whole");
        self.record(&to, tree.digest, replaced)?;
        failpoint!("export: it is on record");
        swap(&copy, &to)?;
        failpoint!("export: the copy is in place");
        sync_folder(folder)?;
        // Holds what stood there before.
        let old = staged.path().to_owned();
        staged.close().at("removing", &old)?;
        Ok(Exported::Written)
    }

    fn record(&self, to: &Path, digest: Digest, replaced: Option<Digest>) -> Result<(), StoreError> {
        let record = ExportRecord { to: self.place(to), digest, replaced };
        let bytes = serde_json::to_vec(&record).map_err(|error| StoreError::io("writing", to, error.into()))?;
        match write_atomic(&self.record_path(to), &bytes) {
            // A store that can only be read hands out copies too; they are known by their objects then.
            Ok(()) | Err(StoreError::ReadOnly { .. } | StoreError::PermissionDenied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn copy_out(&self, tree: &Tree, to: &Path) -> Result<(), StoreError> {
        let mut copies = Dirty::default();
        match &tree.content {
            Content::File(object) => {
                self.copy_object(*object, tree.bytes, false, to)?;
                copies.file(to);
            }
            Content::Executable(object) => {
                self.copy_object(*object, tree.bytes, true, to)?;
                copies.file(to);
            }
            Content::Folder(entries) => {
                make_folders(entries, to)?;
                entries.par_iter().try_for_each(|entry| {
                    self.copy_object(entry.digest, entry.bytes, entry.executable, &to.join(&entry.path))
                })?;
                for entry in entries {
                    copies.file(&to.join(&entry.path));
                }
            }
        }
        copies.sync()
    }

    /// A new file with the usual mode, or that of a program, which the user may change without touching the object: it shares the object's blocks
    /// where the file system can, and never its name. A hard link would let an edit through to the store.
    fn copy_object(&self, object: Digest, bytes: u64, executable: bool, to: &Path) -> Result<(), StoreError> {
        let from = self.sound_object(object, bytes)?;
        if reflink_copy::reflink(&from, to).is_err() {
            let mut source = File::open(&from).at("reading", &from)?;
            let mut copy = File::create_new(to).at("writing", to)?;
            io::copy(&mut source, &mut copy).at("writing", to)?;
        }
        if executable {
            // Whoever may read it may execute it.
            let mode = to.metadata().at("reading", to)?.permissions().mode();
            let mode = Permissions::from_mode(mode | (mode & 0o444) >> 2);
            std::fs::set_permissions(to, mode).at("writing", to)?;
        }
        Ok(())
    }

    fn check_replaceable(&self, there: &Tree, to: &Path) -> Result<(), StoreError> {
        let recorded = std::fs::read(self.record_path(to))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<ExportRecord>(&bytes).ok())
            .is_some_and(|record| {
                record.to == self.place(to) && (record.digest == there.digest || record.replaced == Some(there.digest))
            });
        if recorded {
            return Ok(());
        }
        let stored = |object: &Digest, bytes: u64| {
            self.object_path(object)
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
        };
        let foreign: Vec<&str> = match &there.content {
            Content::File(object) | Content::Executable(object) if stored(object, there.bytes) => return Ok(()),
            Content::File(_) | Content::Executable(_) => vec!["it was changed or written by something else"],
            Content::Folder(entries) => {
                let foreign = entries.iter().filter(|entry| !stored(&entry.digest, entry.bytes));
                foreign.map(|entry| entry.path.as_str()).collect()
            }
        };
        if foreign.is_empty() {
            return Ok(());
        }
        let named = foreign[..foreign.len().min(NAMED_FILES)].join(", ");
        let what = match foreign.len().saturating_sub(NAMED_FILES) {
            0 => named,
            more => format!("{named} and {more} more"),
        };
        Err(StoreError::NotOurs { path: to.to_owned(), what })
    }

    /// A place relative to the folder that holds the store, where it lies below that: both may be moved together.
    fn place(&self, to: &Path) -> PathBuf {
        to.strip_prefix(folder_of(self.root())).unwrap_or(to).to_owned()
    }

    fn record_path(&self, to: &Path) -> PathBuf {
        let name = Digest::of(self.place(to).as_os_str().as_encoded_bytes());
        self.folder("exports").join(format!("{name}.json"))
    }
}

/// The absolute path, without links; folders above are made.
fn resolve(to: &Path) -> Result<PathBuf, StoreError> {
    if to.symlink_metadata().is_ok() {
        return to.canonicalize().map_err(|error| {
            if to.is_symlink() {
                return StoreError::BrokenLink { link: to.to_owned() };
            }
            StoreError::io("reading", to, error)
        });
    }
    let name = to.file_name().ok_or_else(|| StoreError::NotFound { path: to.to_owned() })?;
    let folder = folder_of(to);
    std::fs::create_dir_all(folder).at("creating", folder)?;
    Ok(folder.canonicalize().at("reading", folder)?.join(name))
}

fn staging_prefix(to: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(to.file_name().unwrap_or_default());
    prefix.push(".refit-");
    prefix
}

/// Removes what killed exports to the same place left. One under way touched its folder lately.
fn clear_abandoned(folder: &Path, prefix: &OsString) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let since = entry.metadata().ok().filter(Metadata::is_dir).as_ref().and_then(changed);
        if ours && since.is_some_and(|since| is_older(since, ABANDONED)) {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Puts `new` at `to`; what stood at `to` stands at `new` then, or beside it.
fn swap(new: &Path, to: &Path) -> Result<(), StoreError> {
    if to.symlink_metadata().is_err() {
        return std::fs::rename(new, to).at("writing", to);
    }
    if renameat_with(CWD, new, CWD, to, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // A file system that cannot exchange: for a moment nothing stands at `to`, but nothing is lost.
    let old = new.with_file_name("old");
    std::fs::rename(to, &old).at("moving away", to)?;
    std::fs::rename(new, to).map_err(|error| {
        // Put back what was there; if even that fails, the first error says more.
        let _ = std::fs::rename(&old, to);
        StoreError::io("writing", to, error)
    })
}
