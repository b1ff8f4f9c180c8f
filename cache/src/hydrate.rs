use std::{fs::Permissions, io, os::unix::fs::PermissionsExt, path::Path};

use rayon::prelude::*;

use crate::{Content, Digest, Entry, Store, StoreError, Tree, durable::folder_of, error::At};

impl Store {
    /// Lays an artifact out at `to`, read-only, for a worker: by sharing blocks, else by hard link, else by copy. A file that
    /// can be executed is never a hard link, since all names of a file have one mode, and objects have that of plain files.
    ///
    /// A worker that writes to a hard link all the same damages the object; its time shows that before anybody reads it
    /// again. What the user gets is never a hard link: see [`export`](Self::export).
    ///
    /// Every object is hashed first. A damaged one is moved aside and the error is [`StoreError::Corrupt`]. What an
    /// earlier try left at `to` is replaced if it lies in the store's own folder for steps, else it is an error.
    pub fn hydrate(&self, tree: &Tree, to: &Path) -> Result<(), StoreError> {
        if !tree.is_sound() {
            return Err(StoreError::UnsoundTree { tree: tree.digest });
        }
        self.clear_earlier(to)?;
        let above = folder_of(to);
        std::fs::create_dir_all(above).at("creating", above)?;
        match &tree.content {
            Content::File(object) => self.lay_out(*object, tree.bytes, false, to),
            Content::Executable(object) => self.lay_out(*object, tree.bytes, true, to),
            Content::Folder(entries) => {
                make_folders(entries, to)?;
                entries.par_iter().try_for_each(|entry| {
                    self.lay_out(entry.digest, entry.bytes, entry.executable, &to.join(&entry.path))
                })
            }
        }
    }

    fn lay_out(&self, object: Digest, bytes: u64, executable: bool, to: &Path) -> Result<(), StoreError> {
        let from = self.sound_object(object, bytes)?;
        let settle = || {
            let mode = if executable { 0o555 } else { 0o444 };
            std::fs::set_permissions(to, Permissions::from_mode(mode)).at("writing", to)
        };
        if self.may_reflink() {
            if reflink_copy::reflink(&from, to).is_ok() {
                return settle();
            }
            self.cannot_reflink();
        }
        if !executable && std::fs::hard_link(&from, to).is_ok() {
            return Ok(());
        }
        std::fs::copy(&from, to).at("writing", to)?;
        settle()
    }

    fn clear_earlier(&self, to: &Path) -> Result<(), StoreError> {
        let Ok(metadata) = to.symlink_metadata() else { return Ok(()) };
        if !to.starts_with(self.tmp()) {
            return Err(StoreError::io("writing", to, io::ErrorKind::AlreadyExists.into()));
        }
        let removed = if metadata.is_dir() { std::fs::remove_dir_all(to) } else { std::fs::remove_file(to) };
        removed.at("removing", to)
    }
}

/// Makes the folders of an artifact, each once.
pub(crate) fn make_folders(entries: &[Entry], to: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(to).at("creating", to)?;
    let mut made = "";
    // Entries are sorted: those of one folder mostly follow each other.
    for entry in entries {
        let folder = entry.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != made {
            let path = to.join(folder);
            std::fs::create_dir_all(&path).at("creating", &path)?;
            made = folder;
        }
    }
    Ok(())
}
