use std::sync::Arc;

use crate::source::{Label, Node, Path, Shape, Span, Text, locate};

/// Finds the places to label: in the file, or in the overrides that stand in for parts of it.
pub(super) struct Places<'a> {
    /// The tree the paths lead through.
    pub(super) root: &'a Arc<Node>,
    /// The texts the spans count in.
    pub(super) texts: &'a [Text],
}

impl Places<'_> {
    /// The value at a path, and how one gets there; for a value that is not written, what should hold it.
    pub(super) fn value(&self, path: &Path, text: impl Into<String>) -> Vec<Label> {
        let Some(found) = locate(self.root, path) else { return self.owner(path, text) };
        // An underlined block would hide more than it shows.
        let span = match found.key {
            Some(key) if self.has_lines(found.span) => key,
            _ => self.first_line(found.span),
        };
        let mut labels = vec![Label::new(span, text)];
        labels.extend(found.trail.into_iter().map(|label| Label { span: self.first_line(label.span), ..label }));
        labels
    }

    /// The key at a path, and how one gets there.
    pub(super) fn key(&self, path: &Path, text: impl Into<String>) -> Vec<Label> {
        let Some(found) = locate(self.root, path) else { return self.owner(path, text) };
        let mut labels = vec![Label::new(found.key.unwrap_or(found.span), text)];
        let trail = found.trail.into_iter().map(|label| Label { span: self.first_line(label.span), ..label });
        labels.extend(trail);
        labels
    }

    /// The key of the collection at a path, or of the nearest one above it that is written.
    pub(super) fn owner(&self, path: &Path, text: impl Into<String>) -> Vec<Label> {
        let mut path = path.clone();
        loop {
            if let Some(found) = locate(self.root, &path) {
                let span = found.key.unwrap_or_else(|| self.first_line(found.span));
                return vec![Label::new(span, text)];
            }
            if path.0.pop().is_none() {
                return Vec::new();
            }
        }
    }

    /// The main place of a value.
    pub(super) fn span(&self, path: &Path) -> Span {
        self.value(path, "").first().map(|label| label.span).unwrap_or_default()
    }

    /// The text of a single value as it is written.
    pub(super) fn written(&self, path: &Path) -> Option<&str> {
        let node = locate(self.root, path)?.node.target();
        match node.shape {
            Shape::Scalar(_) => self.text(node.span),
            _ => None,
        }
    }

    fn text(&self, span: Span) -> Option<&str> {
        self.texts.get(span.text)?.text.get(span.range())
    }

    fn has_lines(&self, span: Span) -> bool {
        self.text(span).is_some_and(|text| text.contains('\n'))
    }

    /// The part of a span on its first line.
    pub(super) fn first_line(&self, span: Span) -> Span {
        let length = self.text(span).and_then(|text| text.lines().next()).map_or(0, |line| line.trim_end().len());
        Span { end: span.start + length, ..span }
    }
}
