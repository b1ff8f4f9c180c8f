//! Writing that a crash cannot tear.

use std::{
    fs::{File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{StoreError, error::At};

/// Writes a file so that a crash leaves the old or the new content, never a part: temporary file beside it, fsync,
/// rename, fsync of the folder. Missing folders are made.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).at("creating", folder)?;
    // The mode is the usual one: the umask takes away what it takes away from any new file.
    let mut temporary = tempfile::Builder::new()
        .prefix(".refit-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .at("creating a file in", folder)?;
    temporary.write_all(bytes).at("writing", path)?;
    temporary.as_file().sync_all().at("writing", path)?;
    temporary.persist(path).map_err(|error| error.error).at("renaming to", path)?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).at("syncing", folder)
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
