use std::path::Path;

use serde::Serialize;

/// How a file system shares the bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Links {
    /// Copies share blocks until one is written to: they cost nothing.
    Reflink,
    /// A file may have several names: another name costs nothing.
    Hardlink,
    /// Neither: every file is copied.
    Copy,
    /// Nothing can be written there.
    Unwritable,
}

impl Links {
    /// How the store lays out the inputs of steps, in a folder of its own: tried out.
    pub(super) fn of_inputs(store: &Path) -> Self {
        Self::between(store, store, |from, to| {
            if reflink_copy::reflink(from, to).is_ok() {
                Self::Reflink
            } else if fs_err::hard_link(from, to).is_ok() {
                Self::Hardlink
            } else {
                Self::Copy
            }
        })
    }

    /// How results are copied out to a folder of the user's: tried out. Never by hard link, so that an edit cannot reach
    /// the store.
    pub(super) fn of_outputs(store: &Path, folder: &Path) -> Self {
        Self::between(
            store,
            folder,
            |from, to| {
                if reflink_copy::reflink(from, to).is_ok() { Self::Reflink } else { Self::Copy }
            },
        )
    }

    fn between(store: &Path, folder: &Path, attempt: impl Fn(&Path, &Path) -> Self) -> Self {
        let trials = tempfile::tempdir_in(store).and_then(|from| Ok((from, tempfile::tempdir_in(folder)?)));
        let Ok((from, to)) = trials else { return Self::Unwritable };
        let file = from.path().join("from");
        match fs_err::write(&file, b"refit") {
            Ok(()) => attempt(&file, &to.path().join("to")),
            Err(_) => Self::Unwritable,
        }
    }

    pub(super) fn inputs_meaning(self) -> &'static str {
        match self {
            Self::Reflink => "reflinks: inputs of steps take no space",
            Self::Hardlink => "hard links: inputs of steps take no space",
            Self::Copy => "no links: inputs of steps are copied",
            Self::Unwritable => "cannot be written",
        }
    }

    pub(super) fn outputs_meaning(self) -> &'static str {
        match self {
            Self::Reflink => "reflinks: what is copied out takes no space until it is changed",
            Self::Hardlink | Self::Copy => "what is copied out takes its full space",
            Self::Unwritable => "cannot be written",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_is_found_by_trying_and_leaves_nothing() {
        let folders = [tempfile::tempdir(), tempfile::tempdir()].map(|folder| folder.map(tempfile::TempDir::keep));
        let [Ok(store), Ok(folder)] = folders else { panic!("no folders") };
        assert!(matches!(Links::of_inputs(&store), Links::Reflink | Links::Hardlink));
        assert!(matches!(Links::of_outputs(&store, &folder), Links::Reflink | Links::Copy));
        assert_eq!(Links::of_outputs(&store, &folder.join("none")), Links::Unwritable);
        // Empty folders only can be removed like this.
        assert!(std::fs::remove_dir(store).is_ok() && std::fs::remove_dir(folder).is_ok());
    }
}
