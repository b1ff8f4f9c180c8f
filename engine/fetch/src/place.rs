use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use refit_engine::fetch::FetchError;

/// Keeps other processes from fetching the same thing at once, until it is dropped.
///
/// The lock is the system's advisory one on the whole file, which Python's `filelock` takes as well.
pub(crate) struct Locked {
    _lock: File,
}

/// Waits until no other process holds the lock file.
pub(crate) fn lock(path: &Path) -> Result<Locked, FetchError> {
    make_folder_of(path)?;
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|error| FetchError::io("opening", path, error))?;
    file.lock().map_err(|error| FetchError::io("locking", path, error))?;
    Ok(Locked { _lock: file })
}

/// Makes the folder that is to hold `path`.
pub(crate) fn make_folder_of(path: &Path) -> Result<(), FetchError> {
    let folder = folder_of(path);
    fs_err::create_dir_all(folder).map_err(|error| FetchError::io("creating", folder, error))
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `path` with more text at the end of its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Moves a finished file to its place and makes the new name durable.
pub(crate) fn place(from: &Path, to: &Path) -> Result<(), FetchError> {
    fs_err::rename(from, to).map_err(|error| FetchError::io("renaming to", to, error))?;
    let folder = folder_of(to);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| FetchError::io("syncing", folder, error))
}

/// Makes sure that so many bytes fit where `path` goes, before any is written.
pub(crate) fn reserve(path: &Path, bytes: u64) -> Result<(), FetchError> {
    let folder = folder_of(path);
    let found = rustix::fs::statvfs(folder).map_err(|error| FetchError::io("reading", folder, error.into()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if bytes <= free {
        return Ok(());
    }
    Err(FetchError::new(
        "fetch::disk_full",
        format!("the download needs {}, and {} are free at {}", size(bytes), size(free), folder.display()),
    )
    .help("free some space there, or put the download cache on another disk, and run again"))
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A file that need not be there.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    fs_err::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Removes a file that need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), FetchError> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FetchError::io("removing", path, error)),
        _ => Ok(()),
    }
}

/// Writes a small file so that a reader sees all of it or nothing.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FetchError> {
    refit_cache::write_atomic(path, text.as_bytes()).map_err(|error| {
        FetchError::new("fetch::io", format!("{} could not be written", path.display())).caused_by(error)
    })
}
