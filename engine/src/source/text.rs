use std::{path::PathBuf, sync::Arc};

/// A text that values of a pipeline stand in. [`Span::text`](super::Span::text) counts them.
#[derive(Debug, Clone)]
pub struct Text {
    /// What it is called in messages.
    pub name: Arc<str>,
    /// Its characters.
    pub text: Arc<str>,
    /// What it is.
    pub origin: TextOrigin,
}

/// What a [`Text`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOrigin {
    /// The pipeline file.
    Pipeline,
    /// What was given with `-S`.
    Override,
    /// A file that another one imports: its absolute path. Paths in it start at its own folder.
    Import(PathBuf),
}
