use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::ProgramFolder;

/// Folders of commands whose results are kept, emptied for the commands to come.
///
/// A file system may be slow to make what it has just removed: for a minute ext4 steps over every such inode before it
/// gives one away. A run of a thousand short commands, with five of them each, took up to three times as long by that.
#[derive(Debug, Default)]
pub(crate) struct SpareFolders(Mutex<Vec<PathBuf>>);

impl SpareFolders {
    /// Gives a command the folder `step` as if it were new. False if there is none to give, or `step` is not empty.
    pub(super) fn furnish(&self, step: &Path) -> bool {
        loop {
            let Some(spare) = self.pop(step) else { return false };
            match std::fs::rename(&spare, step) {
                Ok(()) => {
                    // `gc` goes by the time of the last change.
                    let _ = std::fs::File::open(step).and_then(|folder| folder.set_modified(SystemTime::now()));
                    return true;
                }
                // Somebody has cleaned up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    self.lock().push(spare);
                    return false;
                }
            }
        }
    }

    /// Takes the folder of a command that has ended and whose outputs are in the store. What cannot be used again is
    /// removed.
    pub(crate) fn take_back(&self, step: PathBuf) {
        if ProgramFolder::empty(&step).is_ok_and(|is_like_new| is_like_new) {
            self.lock().push(step);
        } else {
            // A folder that stays costs space until the next `gc`, nothing else.
            let _ = std::fs::remove_dir_all(step);
        }
    }

    /// Any spare; the one that lies at `step` already if there is one.
    fn pop(&self, step: &Path) -> Option<PathBuf> {
        let mut spares = self.lock();
        let at = spares.iter().position(|spare| spare == step);
        at.map(|at| spares.swap_remove(at)).or_else(|| spares.pop())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No run leaves any behind.
impl Drop for SpareFolders {
    fn drop(&mut self) {
        for spare in self.lock().drain(..) {
            let _ = std::fs::remove_dir_all(spare);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    use super::{super::ProgramFolder, SpareFolders};

    /// All below a folder, by its path from there.
    fn below(folder: &std::path::Path) -> Vec<String> {
        let walk = walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter();
        walk.map(|entry| entry.unwrap().path().strip_prefix(folder).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_used_again_as_if_it_were_new() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        let spares = SpareFolders::default();
        let used = ProgramFolder::create(&first, &spares).unwrap();
        let new = below(&first);
        let inode = fs::metadata(&used.work).unwrap().ino();
        fs::create_dir_all(used.work.join("deep/er")).unwrap();
        fs::write(used.work.join("deep/er/file"), "left").unwrap();
        fs::set_permissions(used.work.join("deep/er"), Permissions::from_mode(0o500)).unwrap();
        symlink("/", used.temporary.join("link")).unwrap();
        fs::write(used.scratch.join("state"), "left").unwrap();
        fs::create_dir(&used.matches).unwrap();
        fs::write(used.matches.join("file"), "left").unwrap();
        fs::write(&used.log, "left").unwrap();
        spares.take_back(first.clone());
        let again = ProgramFolder::create(&second, &spares).unwrap();
        assert_eq!(below(&second), new);
        assert_eq!(fs::metadata(&again.work).unwrap().ino(), inode);
        assert!(!first.exists());
    }

    #[test]
    fn a_folder_that_a_command_has_changed_is_not_used_again() {
        let changes: [fn(&ProgramFolder); 5] = [
            |folder| fs::set_permissions(&folder.work, Permissions::from_mode(0o777)).unwrap(),
            |folder| fs::remove_dir(&folder.temporary).unwrap(),
            |folder| fs::write(folder.work.with_file_name("more"), "").unwrap(),
            |folder| {
                fs::remove_dir(&folder.scratch).unwrap();
                symlink("/", &folder.scratch).unwrap();
            },
            |folder| fs::create_dir(&folder.log).unwrap(),
        ];
        for change in changes {
            let root = tempfile::tempdir().unwrap();
            let [first, second] = ["first", "second"].map(|name| root.path().join(name));
            let spares = SpareFolders::default();
            change(&ProgramFolder::create(&first, &spares).unwrap());
            spares.take_back(first.clone());
            assert!(!first.exists());
            assert!(!spares.furnish(&second));
        }
    }

    #[test]
    fn what_an_earlier_try_left_stays_and_so_does_the_spare() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        let spares = SpareFolders::default();
        ProgramFolder::create(&first, &spares).unwrap();
        let tried = ProgramFolder::create(&second, &spares).unwrap();
        fs::write(tried.scratch.join("state"), "so far").unwrap();
        spares.take_back(first.clone());
        let tried = ProgramFolder::create(&second, &spares).unwrap();
        assert_eq!(fs::read_to_string(tried.scratch.join("state")).unwrap(), "so far");
        assert!(first.exists());
        drop(spares);
        assert!(!first.exists());
    }
}
