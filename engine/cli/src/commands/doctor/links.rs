use std::path::Path;

use serde::Serialize;

/// How a file system shares the bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Links {
    /// Copies share blocks until one is written to: inputs cost nothing.
    Reflink,
    /// A file may have several names: inputs cost nothing.
    Hardlink,
    /// Neither: every input is copied.
    Copy,
    /// Nothing can be written there.
    Unwritable,
}

impl Links {
    /// Tries it out in a folder.
    pub(super) fn of(folder: &Path) -> Self {
        let Ok(trial) = tempfile::tempdir_in(folder) else { return Self::Unwritable };
        let from = trial.path().join("from");
        if fs_err::write(&from, b"refit").is_err() {
            return Self::Unwritable;
        }
        if reflink_copy::reflink(&from, trial.path().join("reflink")).is_ok() {
            Self::Reflink
        } else if fs_err::hard_link(&from, trial.path().join("hardlink")).is_ok() {
            Self::Hardlink
        } else {
            Self::Copy
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Reflink => "reflinks: inputs of steps take no space",
            Self::Hardlink => "hard links: inputs of steps take no space",
            Self::Copy => "no links: inputs of steps are copied",
            Self::Unwritable => "cannot be written",
        }
    }
}
