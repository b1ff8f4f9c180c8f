use std::path::Path;

use crate::{
    StoreError,
    durable::{folder_of, remove_file, sync_folder},
    error::At,
    usage::below,
};

/// Removes, or only counts.
pub(super) struct Remover {
    pub(super) dry_run: bool,
    /// Of all that was removed or counted.
    pub(super) bytes: u64,
}

impl Remover {
    pub(super) fn file(&mut self, path: &Path) -> Result<(), StoreError> {
        self.bytes += path.symlink_metadata().at("reading", path)?.len();
        if self.dry_run { Ok(()) } else { remove_file(path) }
    }

    pub(super) fn folder(&mut self, path: &Path) -> Result<(), StoreError> {
        if !path.is_dir() || path.is_symlink() {
            return self.file(path);
        }
        self.bytes += below(path).1;
        if self.dry_run {
            return Ok(());
        }
        std::fs::remove_dir_all(path).at("removing", path)?;
        sync_folder(folder_of(path))
    }
}
