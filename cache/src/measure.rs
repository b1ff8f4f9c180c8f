use std::path::Path;

use rayon::prelude::*;

use crate::{
    Digest, Entry, Store, StoreError, StoreLock, Tree,
    error::At,
    hashing::hash_settled,
    stat::Stat,
    walk::{self, Found, Links},
};

/// Whether it counts if a file can be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Modes {
    Counted,
    Ignored,
}

impl Store {
    /// The digest of a source file or folder. Links are followed, wherever they lead.
    ///
    /// Files that did not change since they were last measured are not read again. Without the lock, that is known only of
    /// what a process that held it wrote down when it let go.
    pub fn measure(&self, path: &Path, lock: Option<&StoreLock>) -> Result<Tree, StoreError> {
        self.measure_with(path, lock, Modes::Ignored)
    }

    /// The tree of a file or folder that was copied out: as [`measure`](Self::measure), but whether files can be executed
    /// counts, as it does in what steps make. Of sources it does not, because it depends on the disk and how they came there.
    pub fn measure_copy(&self, path: &Path, lock: Option<&StoreLock>) -> Result<Tree, StoreError> {
        self.measure_with(path, lock, Modes::Counted)
    }

    fn measure_with(&self, path: &Path, lock: Option<&StoreLock>, modes: Modes) -> Result<Tree, StoreError> {
        let target = path.canonicalize().map_err(|error| {
            if path.is_symlink() {
                return StoreError::BrokenLink { link: path.to_owned() };
            }
            StoreError::io("reading", path, error)
        })?;
        let metadata = target.metadata().at("reading", path)?;
        if metadata.is_dir() {
            // A folder may hold the store itself, as the folder of a pipeline does.
            let found = walk::files(&target, Links::Follow, Some(self.root()))?;
            let digests = self.measure_files(&found, lock)?;
            let entries = found.into_iter().zip(digests).map(|(found, (digest, bytes))| Entry {
                path: found.relative,
                digest,
                bytes,
                executable: modes == Modes::Counted && found.executable,
            });
            return Ok(Tree::folder(entries.collect()));
        }
        if !metadata.is_file() {
            return Err(StoreError::NotAFile { path: path.to_owned() });
        }
        let executable = modes == Modes::Counted && walk::is_executable(&metadata);
        let stat = Stat::of(&metadata);
        let found = Found { relative: String::new(), path: target, stat, shared: false, executable };
        let measured = self.measure_files(&[found], lock)?;
        let tree = if executable { Tree::executable } else { Tree::file };
        measured
            .first()
            .map(|(digest, bytes)| tree(*digest, *bytes))
            .ok_or_else(|| StoreError::NotFound { path: path.to_owned() })
    }

    /// Digest and size of each file, in the given order.
    fn measure_files(&self, files: &[Found], lock: Option<&StoreLock>) -> Result<Vec<(Digest, u64)>, StoreError> {
        let stats: Vec<Stat> = files.iter().map(|file| file.stat).collect();
        let known = match lock {
            Some(lock) => lock.index.digests(&stats),
            None => stats.iter().map(|stat| self.snapshot().digest(stat)).collect(),
        };
        let measured: Vec<_> = files
            .par_iter()
            .zip(known)
            .map(|(file, known)| match known {
                Some(digest) => Ok((digest, file.stat, None)),
                None => hash_settled(&file.path).map(|(digest, stat, asked)| (digest, stat, Some(asked))),
            })
            .collect::<Result<_, _>>()?;
        if let Some(lock) = lock {
            let settled = measured.iter().filter(|(_, stat, asked)| asked.is_none_or(|asked| !stat.is_racy(asked)));
            lock.saw(settled.clone().map(|(digest, stat, _)| (*stat, *digest)));
            let new: Vec<_> =
                settled.filter(|(_, _, asked)| asked.is_some()).map(|(digest, stat, _)| (*stat, *digest)).collect();
            if !new.is_empty() {
                lock.index.remember(&new);
            }
        }
        Ok(measured.into_iter().map(|(digest, stat, _)| (digest, stat.size)).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::Wait;

    /// The index is told a wrong digest, so that what is read and what is remembered can be told apart.
    #[test]
    fn unchanged_files_are_not_read_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let lock = store.lock("a test", Wait::Fail).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let path = data.join("a.txt");
        fs::write(&path, "alpha").unwrap();
        let wrong = Digest::of(b"wrong");
        let stat = Stat::of(&path.metadata().unwrap());
        lock.index.remember(&[(stat, wrong)]);
        assert_eq!(store.measure(&path, Some(&lock)).unwrap().digest, wrong);
        assert_eq!(store.measure(&path, None).unwrap().digest, Digest::of(b"alpha"));
        drop(lock);

        // It outlives the process that found it out, and a folder that was moved is not read again.
        let lock = store.lock("a test", Wait::Fail).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&data, &moved).unwrap();
        assert_eq!(store.measure(&moved.join("a.txt"), Some(&lock)).unwrap().digest, wrong);

        for changed in [
            Stat { size: stat.size + 1, ..stat },
            Stat { modified: stat.modified + 1, ..stat },
            Stat { changed: stat.changed + 1, ..stat },
        ] {
            lock.index.remember(&[(changed, wrong)]);
            assert_eq!(store.measure(&moved.join("a.txt"), Some(&lock)).unwrap().digest, Digest::of(b"alpha"));
        }
        assert_eq!(lock.take_notices(), Vec::<String>::new());
    }

    #[test]
    fn files_that_may_change_unseen_are_not_remembered() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let lock = store.lock("a test", Wait::Fail).unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "alpha").unwrap();
        store.measure(&path, Some(&lock)).unwrap();
        assert_eq!(lock.index.digests(&[Stat::of(&path.metadata().unwrap())]), [None]);
    }
}
