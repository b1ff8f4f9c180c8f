//! One object: where it lies, whether it is sound, and what happens when it is not.

use std::{
    fs::{File, FileTimes},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{Digest, Store, StoreError, hashing::hash_file};

/// The same object may be found damaged several times; beyond this it stays where it is.
const MOVED_ALIKE: u32 = 1000;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObjectState {
    Sound,
    Missing,
    /// It was moved to this path, if the disk can be written.
    Damaged(PathBuf),
}

/// How closely an object is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Size and time; the bytes only if these are not as they were.
    Stat,
    /// Every byte.
    Bytes,
}

impl Store {
    /// Looks at an object of `bytes` bytes. A damaged one is moved aside.
    pub(crate) fn check_object(&self, object: Digest, bytes: u64, check: Check) -> Result<ObjectState, StoreError> {
        let path = self.object_path(&object);
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ObjectState::Missing),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        if !metadata.is_file() {
            return Ok(ObjectState::Damaged(self.quarantine(&path)));
        }
        let untouched = metadata.len() == bytes && metadata.modified().is_ok_and(|time| time == object_time(object));
        if untouched && check == Check::Stat {
            return Ok(ObjectState::Sound);
        }
        match hash_file(&path) {
            Ok((digest, _)) if digest == object => {
                if !untouched {
                    // Copied by another tool, say. A store that cannot be written is hashed again the next time.
                    let _ = File::open(&path).and_then(|file| mark(&file, object));
                }
                Ok(ObjectState::Sound)
            }
            Ok(_) => Ok(ObjectState::Damaged(self.quarantine(&path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ObjectState::Missing),
            Err(error) => Err(StoreError::io("reading", &path, error)),
        }
    }

    /// The path of an object whose every byte was checked just now.
    pub(crate) fn sound_object(&self, object: Digest, bytes: u64) -> Result<PathBuf, StoreError> {
        match self.check_object(object, bytes, Check::Bytes)? {
            ObjectState::Sound => Ok(self.object_path(&object)),
            ObjectState::Missing => Err(StoreError::MissingObject { object, path: self.object_path(&object) }),
            ObjectState::Damaged(path) => Err(StoreError::Corrupt { object, path }),
        }
    }

    /// Moves a damaged file aside, for people to look at, and says where it lies now.
    pub(crate) fn quarantine(&self, path: &Path) -> PathBuf {
        let folder = self.folder("quarantine");
        let relative = path.strip_prefix(self.root()).unwrap_or(path);
        let name = relative.to_string_lossy().replace('/', "-");
        let moved = (0..=MOVED_ALIKE)
            .map(|copy| folder.join(if copy == 0 { name.clone() } else { format!("{name}.{copy}") }))
            .find(|candidate| candidate.symlink_metadata().is_err());
        match moved {
            Some(moved) if std::fs::rename(path, &moved).is_ok() => moved,
            // On a read-only disk it stays where it is; it is found damaged again whenever it is about to be used.
            _ => path.to_owned(),
        }
    }
}

/// Gives a file the time that its digest decides, so that whatever is written to it later shows without reading it, with
/// no index to keep. Whole even seconds, which every file system can hold.
pub(crate) fn mark(file: &File, object: Digest) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(object_time(object)))
}

/// Between 2001 and 2018.
fn object_time(object: Digest) -> SystemTime {
    let [a, b, c, d, ..] = *object.as_bytes();
    let spread = u64::from(u32::from_le_bytes([a, b, c, d]) >> 4);
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + 2 * spread)
}
