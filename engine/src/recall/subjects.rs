use std::{io, path::PathBuf};

use refit_cache::{Digest, Store};

use super::{Question, record::replace};
use crate::explain::Subject;

/// Every stage as it is written and wired, a line each in the order of the graph, in a file of its own: a run needs none of
/// it, and an explanation one line.
pub(super) struct Subjects;

impl Subjects {
    /// Writes them, and returns what a record knows its own by.
    pub(super) fn write(
        question: Question,
        store: &Store,
        subjects: impl Iterator<Item = Subject>,
    ) -> io::Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        replace(&Self::path(question, store), |to| {
            let mut line = Vec::new();
            for subject in subjects {
                line.clear();
                serde_json::to_writer(&mut line, &subject)?;
                line.push(b'\n');
                hasher.update(&line);
                to.write_all(&line)?;
            }
            Ok(())
        })?;
        Ok(hasher.finalize().into())
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
