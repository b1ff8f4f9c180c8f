use std::{fmt, path::Path as FilePath, sync::Arc};

use miette::{LabeledSpan, NamedSource, Severity};

use super::{PipelineError, place::Places};
use crate::source::{Label, Mistake, Node, Path};

/// The texts a pipeline was read from, for mistakes that show later.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The tree of the file, with the overrides in it.
    pub(super) root: Arc<Node>,
    /// The pipeline file first, then the overrides.
    pub(super) texts: Vec<Arc<str>>,
    /// What the first text is called; the others are called `-S`.
    pub(super) name: String,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Origin {
    pub(super) fn new(file: &FilePath, root: Arc<Node>, texts: Vec<Arc<str>>) -> Self {
        Self { root, texts, name: file.display().to_string() }
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { root: &self.root, texts: &self.texts }
    }

    /// A mistake at the value, or the nearest thing above it that is written.
    pub(super) fn error_at(&self, path: &Path, mut mistake: Mistake, label: &str) -> PipelineError {
        mistake.labels.extend(self.places().value(path, label));
        self.error(mistake, Severity::Error)
    }

    /// Joins a mistake with the texts it speaks of.
    pub(super) fn error(&self, mistake: Mistake, severity: Severity) -> PipelineError {
        let Mistake { code, message, mut labels, help } = mistake;
        let main = labels.first().map(|label| label.span.text);
        let mut seen = Vec::new();
        labels.retain(|label| {
            let is_new = !seen.contains(&label.span);
            seen.push(label.span);
            is_new
        });
        let (here, there): (Vec<Label>, Vec<Label>) =
            labels.into_iter().partition(|label| Some(label.span.text) == main);
        let elsewhere = there
            .into_iter()
            .map(|label| PipelineError {
                code: "",
                message: if label.span.text == 0 { "in the pipeline file" } else { "in an override" }.to_owned(),
                help: None,
                severity: Severity::Advice,
                source: self.source(label.span.text),
                in_override: label.span.text > 0,
                labels: vec![labelled(label, true)],
                elsewhere: Vec::new(),
            })
            .collect();
        PipelineError {
            code,
            message,
            help,
            severity,
            source: main.and_then(|text| self.source(text)),
            in_override: main.is_some_and(|text| text > 0),
            labels: here.into_iter().enumerate().map(|(at, label)| labelled(label, at == 0)).collect(),
            elsewhere,
        }
    }

    fn source(&self, text: usize) -> Option<NamedSource<Arc<str>>> {
        let name = if text == 0 { self.name.as_str() } else { "-S" };
        self.texts.get(text).map(|text| NamedSource::new(name, text.clone()))
    }
}

fn labelled(label: Label, is_main: bool) -> LabeledSpan {
    let range = label.span.range();
    if is_main {
        LabeledSpan::new_primary_with_span(Some(label.text), range)
    } else {
        LabeledSpan::new_with_span(Some(label.text), range)
    }
}
