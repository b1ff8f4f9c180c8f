use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use miette::Severity;
use refit_cache::Digest;
use serde::Serialize;

use super::SourceError;
use crate::{
    graph::{Origin, Pipeline, SourceRef},
    source::{Entry, Mistake, Node, Shape, SourceFile, Span, Text, TextOrigin},
    spec::is_name,
};

/// `refit.lock`: what the sources from elsewhere were when they were first used. Sorted, without times, to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockFile {
    version: u32,
    sources: BTreeMap<String, LockedSource>,
}

/// One source in `refit.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockedSource {
    /// The source's URI; another URI under the same name is another source.
    pub from: String,
    /// Its content.
    pub digest: Digest,
    /// The commit it was resolved to, where there is such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl LockFile {
    /// The file's name, beside the pipeline file.
    pub const NAME: &'static str = "refit.lock";
    const VERSION: u32 = 1;
    const HEAD: &'static str =
        "# What the sources of this pipeline were when they were first used. Written by refit; commit it.\n";

    pub(super) fn new(sources: BTreeMap<String, LockedSource>) -> Self {
        Self { version: Self::VERSION, sources }
    }

    /// Where the lock file of a pipeline lies.
    pub fn path(pipeline: &Pipeline) -> PathBuf {
        pipeline.folder.join(Self::NAME)
    }

    /// Reads a lock file; one that is not there is empty.
    pub fn read(path: &FilePath) -> Result<Self, SourceError> {
        match fs_err::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::new(BTreeMap::new())),
            _ => Self::of(SourceFile::read(path)),
        }
    }

    /// Reads the text of the lock file at `path`.
    pub fn parse(path: &FilePath, text: &str) -> Result<Self, SourceError> {
        Self::of(SourceFile::parse(path, text))
    }

    fn of((source, mut mistakes): (SourceFile, Vec<Mistake>)) -> Result<Self, SourceError> {
        let nothing = Arc::new(Node::new(Span::default(), Shape::Scalar(serde_json::Value::Null)));
        let root = source.root().cloned().unwrap_or(nothing);
        if mistakes.is_empty()
            && let Some(read) = lower(&root, &mut mistakes)
            && mistakes.is_empty()
        {
            return Ok(read);
        }
        let name = source.path.display().to_string().into();
        let text = Text { name, text: source.text, origin: TextOrigin::Pipeline };
        let origin = Origin { root, texts: vec![text] };
        let mistakes = mistakes.into_iter().map(|mistake| origin.error(mistake, Severity::Error)).collect();
        Err(SourceError::LockFile { file: source.path, message: "it is not as refit writes it".to_owned(), mistakes })
    }

    /// The text of the file.
    pub fn text(&self) -> Result<String, serde_yaml::Error> {
        Ok(format!("{}{}", Self::HEAD, serde_yaml::to_string(self)?))
    }

    /// Writes the file if it holds anything and differs from what is there.
    pub fn write(&self, path: &FilePath) -> Result<(), SourceError> {
        let wrong = |message: String| SourceError::LockFile { file: path.to_owned(), message, mistakes: Vec::new() };
        if self.sources.is_empty() || Self::read(path).is_ok_and(|there| there == *self) {
            return Ok(());
        }
        let text = self.text().map_err(|error| wrong(error.to_string()))?;
        refit_cache::write_atomic(path, text.as_bytes()).map_err(|error| wrong(error.to_string()))
    }

    /// Whether it speaks of no source.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    pub(super) fn get(&self, reference: &SourceRef) -> Option<&LockedSource> {
        self.sources.get(&reference.name).filter(|locked| locked.from == reference.uri.to_string())
    }
}

fn mistake(message: impl Into<String>) -> Mistake {
    Mistake::new("source::lock_file", message)
}

fn lower(root: &Node, mistakes: &mut Vec<Mistake>) -> Option<LockFile> {
    let Some(entries) = root.entries() else {
        mistakes.push(if root.is_null() {
            mistake("it holds nothing")
        } else {
            mistake("it is no map of `version` and `sources`").at(root.span, "found this")
        });
        return None;
    };
    let Some(version) = entries.get("version") else {
        mistakes.push(mistake("`version` is missing").at(root.span, "in here"));
        return None;
    };
    // Another version may look otherwise in every other respect.
    if version.value.to_value() != LockFile::VERSION {
        let known = format!("this refit reads version {}", LockFile::VERSION);
        mistakes.push(mistake("its version is not known to this refit").at(version.value.target().span, known));
        return None;
    }
    refuse_others(entries, &["version", "sources"], mistakes);
    let Some(sources) = entries.get("sources") else {
        mistakes.push(mistake("`sources` is missing").at(root.span, "in here"));
        return None;
    };
    let Some(sources) = sources.value.entries() else {
        mistakes.push(mistake("`sources` is no map").at(sources.key, "under this key"));
        return None;
    };
    let sources = sources.iter().filter_map(|(name, entry)| {
        if !name.split('/').all(is_name) {
            mistakes.push(mistake(format!("`{name}` cannot be the name of a source")).at(entry.key, "this name"));
            return None;
        }
        Some((name.clone(), locked(name, entry, mistakes)?))
    });
    Some(LockFile::new(sources.collect()))
}

fn locked(name: &str, entry: &Entry, mistakes: &mut Vec<Mistake>) -> Option<LockedSource> {
    let Some(fields) = entry.value.entries() else {
        mistakes.push(mistake(format!("the source `{name}` is no map")).at(entry.key, "under this key"));
        return None;
    };
    refuse_others(fields, &["from", "digest", "revision"], mistakes);
    let mut text = |key: &str| {
        let field = fields.get(key)?;
        let text = field.value.as_str();
        if text.is_none() {
            mistakes
                .push(mistake(format!("`{key}` of the source `{name}` is no text")).at(field.key, "under this key"));
        }
        text.map(|text| (text.to_owned(), field.value.target().span))
    };
    let (from, digest, revision) = (text("from"), text("digest"), text("revision"));
    for (key, is_there) in [("from", fields.contains_key("from")), ("digest", fields.contains_key("digest"))] {
        if !is_there {
            mistakes.push(mistake(format!("`{key}` of the source `{name}` is missing")).at(entry.key, "of this one"));
        }
    }
    let (digest, at) = digest?;
    let Ok(digest) = digest.parse() else {
        let what = mistake(format!("`{digest}` is not a digest")).at(at, "no digest");
        mistakes.push(what.help("a digest is `b3:` and 64 hexadecimal digits"));
        return None;
    };
    Some(LockedSource { from: from?.0, digest, revision: revision.map(|(text, _)| text) })
}

fn refuse_others(entries: &IndexMap<String, Entry>, known: &[&str], mistakes: &mut Vec<Mistake>) {
    for (key, entry) in entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        mistakes.push(mistake(format!("nothing is called `{key}` here")).at(entry.key, "unknown key"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DIGEST: &str = "b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    /// Each mistake, and the text it points at.
    fn mistakes(text: &str) -> Vec<(String, String)> {
        let SourceError::LockFile { mistakes, .. } = LockFile::parse(FilePath::new(LockFile::NAME), text).unwrap_err()
        else {
            panic!("another error")
        };
        let place = |mistake: &crate::graph::PipelineError| {
            let label = mistake.labelled().first()?;
            Some(text[label.offset()..label.offset() + label.len()].to_owned())
        };
        mistakes.iter().map(|mistake| (mistake.to_string(), place(mistake).unwrap_or_default())).collect()
    }

    #[test]
    fn reads_what_it_writes() {
        let source = |revision: Option<&str>| LockedSource {
            from: "hf://org/repo/a b.jsonl".to_owned(),
            digest: Digest::of(b""),
            revision: revision.map(ToOwned::to_owned),
        };
        let file = LockFile::new([("null".to_owned(), source(Some("012e3"))), ("a/ü".to_owned(), source(None))].into());
        assert_eq!(LockFile::parse(FilePath::new(LockFile::NAME), &file.text().unwrap()).unwrap(), file);
    }

    #[test]
    fn every_mistake_is_shown_where_it_is() {
        let text = format!(
            "version: 1\nsources:\n  a: {{ from: 1, digest: b3:12, size: 3 }}\n  -b: {{ from: x, digest: {DIGEST} }}\n  c: [x]\nmore: 1\n"
        );
        let expected = [
            ("nothing is called `more` here", "more"),
            ("nothing is called `size` here", "size"),
            ("`from` of the source `a` is no text", "from"),
            ("`b3:12` is not a digest", "b3:12"),
            ("`-b` cannot be the name of a source", "-b"),
            ("the source `c` is no map", "c"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(message, place)| ((*message).to_owned(), (*place).to_owned())).collect();
        assert_eq!(mistakes(&text), expected);
    }

    #[test]
    fn another_version_is_all_that_is_said() {
        let expected = ("its version is not known to this refit".to_owned(), "2".to_owned());
        assert_eq!(mistakes("version: 2\nfiles: []\n"), [expected]);
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(1 << 20), "{a: ".repeat(1 << 18)] {
            assert!(mistakes(&text)[0].0.contains("levels deep"));
        }
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        #[cfg(unix)]
        assert!(LockFile::read(FilePath::new("/dev/zero")).is_err());
    }
}
