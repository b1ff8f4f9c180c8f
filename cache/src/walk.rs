use std::{
    io,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use crate::{StoreError, error::At, stat::Stat};

/// Which symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// All: the caches of other tools consist of them.
    Follow,
    /// Those that stay in the folder; any other is an error.
    Inside,
}

/// A file found in a folder.
#[derive(Debug)]
pub(crate) struct Found {
    /// Relative to the folder, with `/` between the parts.
    pub(crate) relative: String,
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// Other names of the file exist, or `path` is a link: the file may not be moved.
    pub(crate) shared: bool,
    /// Its owner may execute it.
    pub(crate) executable: bool,
}

/// All files below `folder`, except those below `skipped`.
pub(crate) fn files(folder: &Path, links: Links, skipped: Option<&Path>) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let mut inside = None;
    let walk = WalkDir::new(folder).follow_links(true).min_depth(1);
    for entry in walk.into_iter().filter_entry(|entry| Some(entry.path()) != skipped) {
        let entry = entry.map_err(|error| walk_error(folder, error))?;
        let path = entry.path();
        if links == Links::Inside && entry.path_is_symlink() {
            let inside = match &inside {
                Some(inside) => inside,
                None => inside.insert(folder.canonicalize().at("reading", folder)?),
            };
            stays_inside(inside, path)?;
        }
        if entry.file_type().is_dir() {
            continue;
        }
        if !entry.file_type().is_file() {
            return Err(StoreError::NotAFile { path: path.to_owned() });
        }
        let metadata = entry.metadata().map_err(|error| walk_error(folder, error))?;
        let relative = path.strip_prefix(folder).unwrap_or(path);
        let relative = relative.to_str().ok_or_else(|| StoreError::NameNotUtf8 { path: path.to_owned() })?;
        found.push(Found {
            relative: relative.to_owned(),
            path: path.to_owned(),
            stat: Stat::of(&metadata),
            executable: is_executable(&metadata),
            shared: is_shared(&metadata) || below_link(folder, path, entry.path_is_symlink()),
        });
    }
    Ok(found)
}

/// Checks that a link of a step's output leads to a place below `folder` (which is canonical).
pub(crate) fn stays_inside(folder: &Path, link: &Path) -> Result<(), StoreError> {
    let target = link.canonicalize().map_err(|_| StoreError::BrokenLink { link: link.to_owned() })?;
    if target.starts_with(folder) {
        Ok(())
    } else {
        Err(StoreError::LinkLeavesOutput { link: link.to_owned(), target })
    }
}

/// Whether other names of a file exist.
pub(crate) fn is_shared(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

/// Whether a file's owner may execute it, which is what git goes by.
pub(crate) fn is_executable(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0
}

/// Whether `path` is a link or lies in a folder that is one.
fn below_link(folder: &Path, path: &Path, is_link: bool) -> bool {
    is_link || path.ancestors().skip(1).take_while(|above| *above != folder).any(Path::is_symlink)
}

fn walk_error(folder: &Path, error: walkdir::Error) -> StoreError {
    let path = error.path().unwrap_or(folder).to_owned();
    if error.loop_ancestor().is_some() {
        return StoreError::BrokenLink { link: path };
    }
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("cannot walk the folder"));
    if source.kind() == io::ErrorKind::NotFound && path.is_symlink() {
        return StoreError::BrokenLink { link: path };
    }
    StoreError::io("reading", &path, source)
}
