use std::{error::Error, fmt, path::Path, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

use crate::source::TextOrigin;

/// One mistake in a pipeline file, or in an override.
#[derive(Debug, Clone)]
pub struct PipelineError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) severity: Severity,
    pub(crate) source: Option<NamedSource<Arc<str>>>,
    pub(crate) labels: Vec<LabeledSpan>,
    /// The text that the main place lies in, if there is a place.
    pub(crate) origin: Option<TextOrigin>,
    /// Further places, which lie in other texts.
    pub(crate) elsewhere: Vec<PipelineError>,
}

impl PipelineError {
    /// The stable code, such as `pipeline::unknown_key`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Whether it says the same of the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let name = |error: &Self| error.source.as_ref().map(|source| source.name().to_owned());
        self.message == other.message && self.labels == other.labels && name(self) == name(other)
    }

    /// The labelled byte ranges in its text, the main one first.
    pub fn labelled(&self) -> &[LabeledSpan] {
        &self.labels
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for PipelineError {}

impl Diagnostic for PipelineError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.code.is_empty()).then(|| Box::new(self.code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        related(&self.elsewhere)
    }
}

/// Every mistake of a pipeline file at once.
#[derive(Debug, Clone)]
pub struct PipelineErrors {
    pub(crate) file: String,
    pub(crate) errors: Vec<PipelineError>,
}

impl PipelineErrors {
    /// Mistakes of the file that is called `file`.
    pub fn new(file: impl Into<String>, errors: Vec<PipelineError>) -> Self {
        Self { file: file.into(), errors }
    }

    /// The mistakes, in the order of the file.
    pub fn errors(&self) -> &[PipelineError] {
        &self.errors
    }

    /// The imported files that have mistakes.
    pub fn imports(&self) -> impl Iterator<Item = &Path> {
        self.errors.iter().filter_map(|error| match &error.origin {
            Some(TextOrigin::Import(file)) => Some(file.as_path()),
            _ => None,
        })
    }

    /// Adds the mistakes that are not among them yet.
    pub(crate) fn join(&mut self, more: Self) {
        for error in more.errors {
            if self.errors.iter().all(|known| !known.is_same(&error)) {
                self.errors.push(error);
            }
        }
    }

    /// Whether the file could not even be read, which is no mistake in it.
    pub fn is_unreadable(&self) -> bool {
        self.errors.iter().any(|error| error.code == "pipeline::unreadable")
    }
}

impl fmt::Display for PipelineErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unreadable() {
            return write!(f, "{} cannot be read", self.file);
        }
        let many = self.errors.len();
        let mistakes = if many == 1 { "a mistake".to_owned() } else { format!("{many} mistakes") };
        let all_in =
            |wanted: fn(&TextOrigin) -> bool| self.errors.iter().all(|error| error.origin.as_ref().is_some_and(wanted));
        if all_in(|origin| *origin == TextOrigin::Override) {
            return write!(f, "{mistakes} in what overrides {}", self.file);
        }
        if all_in(|origin| matches!(origin, TextOrigin::Import(_))) {
            return write!(f, "{mistakes} in what {} imports", self.file);
        }
        write!(f, "{} has {mistakes}", self.file)
    }
}

impl Error for PipelineErrors {}

impl Diagnostic for PipelineErrors {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("pipeline::invalid"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        related(&self.errors)
    }
}

fn related(errors: &[PipelineError]) -> Option<Box<dyn Iterator<Item = &dyn Diagnostic> + '_>> {
    (!errors.is_empty()).then(|| Box::new(errors.iter().map(|e| e as &dyn Diagnostic)) as Box<dyn Iterator<Item = _>>)
}
