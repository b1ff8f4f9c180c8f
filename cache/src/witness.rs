use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    stat::Stat,
    walk::{self, Links},
};

/// A file or folder as it was seen: while its stat stays the same, so does what is in it.
///
/// Of a folder, that is the names in it; what the files below hold is witnessed by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    path: PathBuf,
    /// None: nothing was there.
    stat: Option<Stat>,
}

impl Witness {
    /// Sees a path, through symbolic links.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), stat: see(path) }
    }

    /// Whether the path looks as it did.
    pub fn holds(&self) -> bool {
        see(&self.path) == self.stat
    }

    /// Sees a file, or a folder with everything below it but `apart`.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn all(path: &Path, apart: &Path) -> Result<Vec<Self>, StoreError> {
        let mut seen = vec![Self::of(path)];
        if path.is_dir() {
            let mut folders = std::collections::BTreeSet::new();
            for found in walk::files(path, Links::Follow, Some(apart))? {
                folders.extend(found.path.ancestors().skip(1).take_while(|above| *above != path).map(Path::to_owned));
                seen.push(Self { path: found.path, stat: Some(found.stat) });
            }
            seen.extend(folders.iter().map(|folder| Self::of(folder)));
        }
        Ok(seen)
    }

    /// What was seen.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something was there.
    pub fn is_there(&self) -> bool {
        self.stat.is_some()
    }

    /// Whether a change would show: what was written within the last moments may be written again without another time.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        self.stat.is_none_or(|stat| !stat.is_racy(now))
    }
}

fn see(path: &Path) -> Option<Stat> {
    path.metadata().ok().map(|metadata| Stat::of(&metadata))
}

impl Store {
    /// Sees a file, or a folder with everything below it, as [`Store::measure`] reads it.
    pub fn witness(&self, path: &Path) -> Result<Vec<Witness>, StoreError> {
        Witness::all(path, self.root())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

    use std::{fs, time::Duration};

    use super::*;

    fn all_hold(seen: &[Witness]) -> bool {
        seen.iter().all(Witness::holds)
    }

    #[test]
    fn every_change_in_a_folder_shows() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("deep")).unwrap();
        fs::write(data.join("deep/a"), "1").unwrap();
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(data.join("deep/a"), "22").unwrap(),
            &|| fs::write(data.join("deep/b"), "").unwrap(),
            &|| fs::rename(data.join("deep/b"), data.join("c")).unwrap(),
            &|| fs::remove_file(data.join("c")).unwrap(),
        ];
        for change in changes {
            let seen = store.witness(&data).unwrap();
            assert!(all_hold(&seen));
            // Two times of a file system may be as far apart as a tick of the kernel.
            std::thread::sleep(Duration::from_millis(20));
            change();
            assert!(!all_hold(&seen));
        }
    }

    #[test]
    fn what_is_not_there_is_seen_to_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refit.lock");
        let seen = Witness::of(&path);
        assert!(seen.holds() && seen.is_settled(SystemTime::now()));
        fs::write(&path, "").unwrap();
        assert!(!seen.holds());
        let now = Witness::of(&path);
        assert!(!now.is_settled(SystemTime::now()) && now.is_settled(SystemTime::now() + Duration::from_mins(1)));
    }
}
