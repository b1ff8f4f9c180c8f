use std::ops::Range;

/// A byte range in one of the texts a pipeline is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// Which text: 0 is the pipeline file, the overrides follow as they were given, then imported files.
    pub text: usize,
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A range of the text with that number.
    pub fn new(text: usize, range: Range<usize>) -> Self {
        Self { text, start: range.start, end: range.end }
    }

    /// The range without its text.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// A place and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// A few words.
    pub text: String,
}

impl Label {
    /// A place and a few words.
    pub fn new(span: Span, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }
}

/// A mistake in a text, before it is joined with the text for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Stable, such as `pipeline::unknown_key`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The main place first.
    pub labels: Vec<Label>,
    /// The way out.
    pub help: Option<String>,
}

impl Mistake {
    /// A mistake without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), help: None }
    }

    /// Adds a place; the first one is the main one.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label::new(span, text));
        self
    }

    /// Adds places.
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item = Label>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the way out, if there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}
