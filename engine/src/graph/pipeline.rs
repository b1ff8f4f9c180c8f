use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use refit_cache::Digest;

use super::{InputRef, PipelineError, SourceUri, StageGraph, Variant, origin::Origin};
use crate::source::{self, Mistake, TextOrigin};

/// A pipeline whose names, ports, artifact kinds and parameters have all been checked.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `name`, or the folder's name.
    pub name: String,
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The folder that holds it, absolute; paths in the file start here.
    pub folder: PathBuf,
    /// Every file it was read from, absolute: the pipeline file, then those it imports, by the paths they were read under. A
    /// symbolic link on the way may lead elsewhere by now.
    pub files: Vec<PathBuf>,
    /// What the author says about it.
    pub description: Option<String>,
    /// `params`, after overrides.
    pub params: Map<String, Value>,
    /// Everything from outside, in the file's order.
    pub sources: IndexMap<String, SourceRef>,
    /// The stages.
    pub stages: StageGraph,
    /// What is copied out after a good run, in the file's order.
    pub outputs: Vec<Export>,
    /// The pipelines that this one is made of, when several values were given for one `-S`; else none.
    pub variants: Vec<Variant>,
    /// What is odd but not wrong, such as a parameter that is never used.
    pub warnings: Vec<PipelineError>,
    /// Where sources and stages are written.
    pub(super) origin: Origin,
}

impl Pipeline {
    /// The text of the pipeline file, without overrides.
    pub fn text(&self) -> &str {
        self.origin.texts.first().map_or("", |text| &text.text)
    }

    /// The files that it imports, near and far, in the order in which they were read: the path from the pipeline's folder where
    /// there is one, and the text.
    pub fn imports(&self) -> impl Iterator<Item = (&Path, &str)> {
        let texts = self.origin.texts.iter().filter(|text| matches!(text.origin, TextOrigin::Import(_)));
        let paths = self.files.iter().skip(1).map(|file| file.strip_prefix(&self.folder).unwrap_or(file));
        paths.zip(texts.map(|text| text.text.as_ref()))
    }

    /// Whether its files still hold the text that was read.
    pub fn is_as_written(&self) -> bool {
        let read = self.origin.texts.iter().filter(|text| text.origin != TextOrigin::Override);
        read.zip(&self.files).all(|(text, file)| std::fs::read(file).is_ok_and(|there| there == text.text.as_bytes()))
    }

    /// A mistake that shows only later, at the value under `keys` (`["sources", "base"]`) or the nearest one
    /// above it that is written and still known: of a stage, that is what resources it asks for. The first label says
    /// `label`.
    pub fn error_at(
        &self,
        keys: &[&str],
        code: &'static str,
        message: impl Into<String>,
        label: &str,
        help: Option<String>,
    ) -> PipelineError {
        self.origin.error_at(&source::Path::of(keys), Mistake::new(code, message).maybe_help(help), label)
    }
}

/// A named thing from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRef {
    /// Its key under `sources`.
    pub name: String,
    /// Where it comes from.
    pub uri: SourceUri,
    /// The digest it must have, if it is pinned.
    pub digest: Option<Digest>,
}

/// An artifact that is copied out after a good run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Where to, relative to the pipeline's folder and inside it.
    pub to: PathBuf,
    /// What.
    pub from: InputRef,
}
