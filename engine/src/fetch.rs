//! What the engine asks of whoever brings sources from elsewhere to this machine.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use miette::Diagnostic;

use crate::graph::SourceUri;

/// Brings sources from elsewhere to this machine. What was fetched once stays here and is never asked for again.
pub trait Fetch: Sync {
    /// Where a source fetched earlier lies; asks nobody.
    fn cached(&self, uri: &SourceUri) -> Option<Fetched>;

    /// Fetches a source unless it is here already. Blocks; `on_progress` is called as bytes arrive.
    fn resolve(&self, uri: &SourceUri, on_progress: &mut dyn FnMut(FetchProgress)) -> Result<Fetched, FetchError>;
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all, when known.
    pub total: Option<u64>,
}

/// A source that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file or folder.
    pub path: PathBuf,
    /// The commit it was resolved to, where there is such a thing.
    pub revision: Option<String>,
}

/// Why a source could not be fetched: what was wanted, what happened, and the way out.
#[derive(Debug)]
pub struct FetchError {
    code: &'static str,
    message: String,
    help: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl FetchError {
    /// An error with a stable code, such as `fetch::not_found`, and what was wanted.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None, cause: None }
    }

    /// The way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What happened beneath.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// A file or folder of the cache could not be used.
    pub fn io(action: &str, path: &Path, error: io::Error) -> Self {
        let made = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::new("fetch::disk_full", format!("the disk is full: {action} {} failed", path.display()))
                    .help("free some space there, or put the download cache on another disk, and run again")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::new("fetch::not_writable", format!("{action} {} is not allowed", path.display()))
                    .help("give this user the right to write there, or put the download cache elsewhere")
            }
            _ => Self::new("fetch::io", format!("{action} {} failed", path.display())),
        };
        made.caused_by(error)
    }

    /// The stable code, such as `fetch::not_found`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The way out, if one is known.
    pub fn way_out(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Diagnostic for FetchError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}
