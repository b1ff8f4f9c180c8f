use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

use miette::Diagnostic;

/// Why a model could not be read or written, in the user's terms: what, in which file, and the way out.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CheckpointError(Box<Facts>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Facts {
    code: &'static str,
    message: String,
    help: Option<String>,
    file: Option<PathBuf>,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl CheckpointError {
    /// An error with a stable code such as `gguf::truncated` and one sentence.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Facts { code, message: message.into(), help: None, file: None, cause: None }))
    }

    /// Adds the way out.
    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the file, unless a more precise one is known already.
    #[must_use]
    pub(crate) fn at(mut self, file: &Path) -> Self {
        self.0.file.get_or_insert_with(|| file.to_owned());
        self
    }

    /// Adds what led to it.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// A file that could not be read.
    pub(crate) fn io(file: &Path, cause: std::io::Error) -> Self {
        let (code, message) = match cause.kind() {
            std::io::ErrorKind::NotFound => ("io::not_found", "a file of the model is not there"),
            std::io::ErrorKind::PermissionDenied => ("io::permission_denied", "a file of the model may not be read"),
            _ => ("io::failed", "a file of the model could not be read"),
        };
        Self::new(code, message).at(file).caused_by(cause)
    }

    /// A file that could not be written.
    pub(crate) fn write(file: &Path, cause: std::io::Error) -> Self {
        let (code, message) = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ("io::disk_full", "the disk is full: a file of the model could not be written")
            }
            std::io::ErrorKind::PermissionDenied => ("io::permission_denied", "a file of the model may not be written"),
            _ => ("io::failed", "a file of the model could not be written"),
        };
        Self::new(code, message).at(file).caused_by(cause)
    }

    /// A stable code such as `gguf::truncated`.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// One sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The way out.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The file the mistake lies in.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }
}

impl Diagnostic for CheckpointError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match (&self.0.help, &self.0.file) {
            (Some(help), Some(file)) => Some(Box::new(format!("{help} ({})", file.display()))),
            (Some(help), None) => Some(Box::new(help)),
            (None, Some(file)) => Some(Box::new(format!("the file is {}", file.display()))),
            (None, None) => None,
        }
    }
}
