//! Places at which the tests of this crate end the process, as `kill -9` or a loss of power does. Nothing of it is in any
//! other build: there, every call is empty.

/// A place between two steps of something that must survive being killed there.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(test)]
        $crate::failpoint::reached($name);
    };
}

#[cfg(test)]
pub(crate) use self::armed::{arm, reached, removes, renames, synced_file, synced_folder, wrote};
#[cfg(not(test))]
pub(crate) use self::unarmed::{removes, renames, synced_file, synced_folder, wrote};

#[cfg(not(test))]
mod unarmed {
    use std::path::Path;

    pub(crate) fn wrote(_file: &Path) {}
    pub(crate) fn renames(_from: &Path, _to: &Path) {}
    pub(crate) fn removes(_file: &Path) {}
    pub(crate) fn synced_file(_file: &Path) {}
    pub(crate) fn synced_folder(_folder: &Path) {}
}

#[cfg(test)]
mod armed {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "only in tests; the dying process says where it dies")]

    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::{Path, PathBuf},
        process,
        sync::Mutex,
    };

    /// What the disk has not been told yet, and when to die.
    static STATE: Mutex<Option<Armed>> = Mutex::new(None);

    struct Armed {
        /// The place that is meant; any if `None`.
        at: Option<String>,
        /// So many times it may still be passed.
        left: u64,
        /// Whether what was not synced may be gone afterwards.
        power: Option<u64>,
        unwritten: BTreeSet<PathBuf>,
        /// Names that may be lost, and what stood there before.
        unnamed: BTreeMap<PathBuf, Option<Vec<u8>>>,
    }

    /// From here on, the process ends at that place after it was passed so many times; at any place without a name. With
    /// `power`, a seed, any part of what is not synced by then is lost.
    pub(crate) fn arm(at: Option<String>, left: u64, power: Option<u64>) {
        *STATE.lock().unwrap() = Some(Armed { at, left, power, unwritten: BTreeSet::new(), unnamed: BTreeMap::new() });
    }

    pub(crate) fn reached(name: &str) {
        let mut state = STATE.lock().unwrap();
        let Some(armed) = state.as_mut().filter(|armed| armed.at.as_deref().is_none_or(|at| at == name)) else {
            return;
        };
        if armed.left > 0 {
            armed.left -= 1;
            return;
        }
        armed.lose();
        println!("SAY killed at {name}");
        // No thread gets further than its next note: the state stays locked.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        process::abort();
    }

    fn note(change: impl FnOnce(&mut Armed)) {
        if let Some(armed) = STATE.lock().unwrap().as_mut().filter(|armed| armed.power.is_some()) {
            change(armed);
        }
    }

    pub(crate) fn wrote(file: &Path) {
        note(|armed| _ = armed.unwritten.insert(file.to_owned()));
    }

    pub(crate) fn renames(from: &Path, to: &Path) {
        note(|armed| {
            if armed.unwritten.remove(from) {
                armed.unwritten.insert(to.to_owned());
            } else {
                armed.unwritten.remove(to);
            }
            armed.keep_previous(to);
        });
    }

    pub(crate) fn removes(file: &Path) {
        note(|armed| {
            armed.unwritten.remove(file);
            armed.keep_previous(file);
        });
    }

    pub(crate) fn synced_file(file: &Path) {
        note(|armed| _ = armed.unwritten.remove(file));
    }

    pub(crate) fn synced_folder(folder: &Path) {
        note(|armed| armed.unnamed.retain(|name, _| name.parent() != Some(folder)));
    }

    impl Armed {
        fn keep_previous(&mut self, name: &Path) {
            if !self.unnamed.contains_key(name) {
                self.unnamed.insert(name.to_owned(), fs::read(name).ok());
            }
        }

        fn lose(&mut self) {
            let Some(mut random) = self.power else { return };
            let mut is_lost = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                random >> 63 == 1
            };
            for file in &self.unwritten {
                // Its length and time may be there, and nothing of its content.
                if is_lost()
                    && let Ok(metadata) = file.metadata()
                {
                    let zeros = vec![0; usize::try_from(metadata.len()).unwrap()];
                    let _ = fs::remove_file(file);
                    let _ = fs::write(file, zeros);
                    let times = fs::FileTimes::new().set_modified(metadata.modified().unwrap());
                    let _ = fs::File::options().write(true).open(file).and_then(|file| file.set_times(times));
                }
            }
            for (name, previous) in &self.unnamed {
                if is_lost() {
                    let _ = fs::remove_file(name);
                    if let Some(previous) = previous {
                        let _ = fs::write(name, previous);
                    }
                }
            }
        }
    }
}
