//! Writing that neither a kill nor a loss of power can tear.

use std::{
    collections::BTreeSet,
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{StoreError, error::At, failpoint};

/// How files are called until they have their content: what bears it and is old was left by a killed process.
pub(crate) const TEMPORARY_PREFIX: &str = ".refit-";

/// From so many files and folders on, the whole file system is synced at once: that takes about as long as a few of them.
#[cfg(target_os = "linux")]
const SYNC_ALL_FROM: usize = 4;

/// Writes a file so that a crash leaves the old or the new content, never a part: temporary file beside it, fsync,
/// rename, fsync of the folder. Missing folders are made.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// The same for what is written piece by piece and never held as a whole.
pub fn write_atomic_with(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), StoreError> {
    let mut names = Dirty::default();
    let written = write_beside(path, content, &mut names)?;
    sync_file(written.as_file(), written.path())?;
    failpoint!("write: the content is synced");
    rename_temporary(written, path)?;
    failpoint!("write: it has its name");
    names.folder(folder_of(path));
    names.sync()
}

/// Writes the content that `path` will have into a temporary file beside it. Folders that had to be made go into `names`.
pub(crate) fn write_beside(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    names: &mut Dirty,
) -> Result<NamedTempFile, StoreError> {
    let folder = folder_of(path);
    make_folder(folder, names)?;
    // The mode is the usual one: the umask takes away what it takes away from any new file.
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .at("creating a file in", folder)?;
    failpoint::wrote(temporary.path());
    let mut file = BufWriter::new(temporary.as_file());
    content(&mut file).and_then(|()| file.flush()).at("writing", path)?;
    drop(file);
    Ok(temporary)
}

/// Gives a temporary file its name.
pub(crate) fn rename_temporary(temporary: NamedTempFile, to: &Path) -> Result<(), StoreError> {
    failpoint::renames(temporary.path(), to);
    temporary.persist(to).map_err(|error| error.error).at("renaming to", to).map(drop)
}

/// Gives a file another name.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    failpoint::renames(from, to);
    std::fs::rename(from, to)
}

/// Removes a file; the removal is durable once the folder is synced.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    failpoint::removes(path);
    std::fs::remove_file(path).at("removing", path)
}

/// Makes the content of a file durable.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    file.sync_all().at("syncing", path)?;
    failpoint::synced_file(path);
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).at("syncing", folder)?;
    failpoint::synced_folder(folder);
    Ok(())
}

/// Makes a folder and what is missing above it, and notes which folders got new names by that.
pub(crate) fn make_folder(folder: &Path, names: &mut Dirty) -> Result<(), StoreError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).at("creating", folder)?;
    for made in missing {
        names.folder(folder_of(made));
    }
    Ok(())
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Files and folders that must reach the disk before anybody is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Dirty {
    /// Notes a file whose content is not durable.
    pub(crate) fn file(&mut self, path: &Path) {
        self.files.insert(path.to_owned());
    }

    /// Notes a folder in which names changed.
    pub(crate) fn folder(&mut self, path: &Path) {
        // Most are noted again and again.
        if !self.folders.contains(path) {
            self.folders.insert(path.to_owned());
        }
    }

    /// Notes all that the other has noted.
    pub(crate) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.folders.extend(other.folders);
    }

    /// Makes all of it durable: contents first, then names.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        if self.sync_at_once() {
            for file in &self.files {
                failpoint::synced_file(file);
            }
            for folder in &self.folders {
                failpoint::synced_folder(folder);
            }
            return Ok(());
        }
        for path in &self.files {
            sync_file(&File::open(path).at("syncing", path)?, path)?;
        }
        self.folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Syncs whole file systems, if that is worth it and works.
    #[cfg(target_os = "linux")]
    fn sync_at_once(&self) -> bool {
        use std::os::unix::fs::MetadataExt;

        if self.files.len() + self.folders.len() < SYNC_ALL_FROM {
            return false;
        }
        // A part of the store may be mounted from elsewhere.
        let mut devices = BTreeSet::new();
        let folders: BTreeSet<&Path> =
            self.files.iter().map(|file| folder_of(file)).chain(self.folders.iter().map(PathBuf::as_path)).collect();
        folders.into_iter().all(|folder| {
            let Ok(opened) = File::open(folder) else { return false };
            let Ok(metadata) = opened.metadata() else { return false };
            !devices.insert(metadata.dev()) || rustix::fs::syncfs(&opened).is_ok()
        })
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "as on Linux")]
    fn sync_at_once(&self) -> bool {
        false
    }
}
