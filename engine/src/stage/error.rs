use std::{error::Error, fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where in a file a mistake lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the user knows it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: Option<u64>,
}

/// Why a step failed, in the user's terms: what, where, and the way out.
///
/// It crosses the worker's pipe as JSON, so it is plain text by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageError {
    /// A stable code such as `clean::malformed_row` or `io::disk_full`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// Where the mistake lies.
    pub place: Option<Place>,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
}

impl StageError {
    /// The code of an error that says that a device's memory ran out: less work at a time may do.
    pub const OUT_OF_DEVICE_MEMORY: &str = "device::out_of_memory";

    /// An error with a stable code and one sentence.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: None, place: None, causes: Vec::new() }
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the file.
    #[must_use]
    pub fn at(mut self, file: impl Into<PathBuf>) -> Self {
        self.place = Some(Place { file: file.into(), line: None });
        self
    }

    /// Adds the file and the line (from 1).
    #[must_use]
    pub fn at_line(mut self, file: impl Into<PathBuf>, line: u64) -> Self {
        self.place = Some(Place { file: file.into(), line: Some(line) });
        self
    }

    /// Adds an error and all that led to it.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StageError {}

/// The message of an I/O error names the path when it comes from `fs_err`.
impl From<io::Error> for StageError {
    fn from(error: io::Error) -> Self {
        let error_kind = error.kind();
        let made = match error_kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new("io::disk_full", "the disk is full")
                    .help("free some space (`refit cache gc` drops results no run needs) and run again; finished stages are kept")
            }
            io::ErrorKind::PermissionDenied => Self::new("io::permission_denied", "a file or folder may not be used"),
            io::ErrorKind::ReadOnlyFilesystem => Self::new("io::read_only", "the file system is read-only"),
            io::ErrorKind::NotFound => Self::new("io::not_found", "a file or folder is not there"),
            _ => Self::new("io::failed", "reading or writing failed"),
        };
        made.caused_by(&error)
    }
}
