use std::{fmt, sync::Arc};

use indexmap::IndexMap;
use miette::{LabeledSpan, NamedSource, Severity};

use super::{PipelineError, params::edited, place::Places};
use crate::source::{Entry, Label, Mistake, Node, Path, Text, TextOrigin};

/// The texts a pipeline was read from, for mistakes that show later.
#[derive(Clone)]
pub(crate) struct Origin {
    /// The tree of the file, with the overrides in it.
    pub(crate) root: Arc<Node>,
    /// The pipeline file first, then the overrides, then imported files.
    pub(crate) texts: Vec<Text>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Origin {
    /// What the pipeline file is called.
    pub(super) fn name(&self) -> &str {
        self.texts.first().map_or("", |text| &text.name)
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { root: &self.root, texts: &self.texts }
    }

    /// The same with no more of the tree than mistakes point at that show after loading: the sources, the stages, and what
    /// resources those ask for. The whole tree of a large pipeline is large.
    pub(super) fn for_later(&self) -> Self {
        fn keep(entries: &mut IndexMap<String, Entry>, wanted: &[&str]) {
            entries.retain(|key, _| wanted.contains(&key.as_str()));
            entries.shrink_to_fit();
        }
        let root = edited(&self.root, &mut |top| {
            keep(top, &["sources", "stages"]);
            let Some(stages) = top.get_mut("stages") else { return };
            stages.value = edited(&stages.value, &mut |stages| {
                for stage in stages.values_mut() {
                    stage.value = edited(&stage.value, &mut |entries| keep(entries, &["resources"]));
                }
            });
        });
        Self { root, texts: self.texts.clone() }
    }

    /// A mistake at the value, or the nearest thing above it that is written.
    pub(super) fn error_at(&self, path: &Path, mut mistake: Mistake, label: &str) -> PipelineError {
        mistake.labels.extend(self.places().value(path, label));
        self.error(mistake, Severity::Error)
    }

    /// Joins a mistake with the texts it speaks of.
    pub(crate) fn error(&self, mistake: Mistake, severity: Severity) -> PipelineError {
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
                message: self.place(label.span.text),
                help: None,
                severity: Severity::Advice,
                source: self.source(label.span.text),
                origin: self.origin(label.span.text),
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
            origin: main.and_then(|text| self.origin(text)),
            labels: here.into_iter().enumerate().map(|(at, label)| labelled(label, at == 0)).collect(),
            elsewhere,
        }
    }

    fn source(&self, text: usize) -> Option<NamedSource<Arc<str>>> {
        self.texts.get(text).map(|text| NamedSource::new(&text.name, text.text.clone()))
    }

    fn origin(&self, text: usize) -> Option<TextOrigin> {
        self.texts.get(text).map(|text| text.origin.clone())
    }

    fn place(&self, text: usize) -> String {
        match self.origin(text) {
            Some(TextOrigin::Override) => "in an override".to_owned(),
            Some(TextOrigin::Import(_)) => "in an imported file".to_owned(),
            Some(TextOrigin::Pipeline) | None => "in the pipeline file".to_owned(),
        }
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
