use std::path::PathBuf;

use refit_cache::{Digest, Store};

use super::Question;
use crate::explain::Subject;

/// Every stage as it is written and wired, a line each in the order of the graph, in a file of its own: a run needs none of
/// it, and an explanation one line.
pub(super) struct Subjects {
    text: Vec<u8>,
}

impl Subjects {
    pub(super) fn new(subjects: impl Iterator<Item = Subject>) -> serde_json::Result<Self> {
        let mut text = Vec::new();
        for subject in subjects {
            serde_json::to_writer(&mut text, &subject)?;
            text.push(b'\n');
        }
        Ok(Self { text })
    }

    /// What a record knows its own by.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.text)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn path(question: Question, store: &Store) -> PathBuf {
        question.path(store).with_extension("stages")
    }

    /// Reads the line of the stage at that place; none where the file is not the one with that digest.
    pub(super) fn read(question: Question, store: &Store, digest: Digest, place: usize) -> Option<Subject> {
        let text = std::fs::read(Self::path(question, store)).ok()?;
        let line = text.split(|byte| *byte == b'\n').nth(place)?;
        (Digest::of(&text) == digest).then(|| serde_json::from_slice(line).ok())?
    }
}
