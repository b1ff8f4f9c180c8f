use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use refit_cache::{Digest, RunId, Standing, Store, Witness};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::Question;
use crate::run::{RunSummary, SourceReport, StageReport, StageState};

/// Raised when what is in the file changes.
pub(super) const VERSION: u32 = 2;

/// What is kept of a run that ended with every stage's result in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record<S = Box<RawValue>> {
    pub(super) version: u32,
    pub(super) question: Digest,
    /// The run: what it set out to do is what the next one does.
    pub(super) run: RunId,
    /// The pipeline file.
    pub(super) file: PathBuf,
    /// `--device` as given to it.
    pub(super) device: String,
    /// What is listed of it.
    pub(super) summary: RunSummary,
    pub(super) sources: BTreeMap<String, SourceReport>,
    /// Every stage, cached, in the order of the graph: the text that the next report takes over as it stands.
    pub(super) stages: S,
    /// What is copied out: path relative to the pipeline's folder → `stage.port`.
    pub(super) exported: BTreeMap<String, String>,
    /// The files of the store behind the stages.
    pub(super) standing: Standing,
    /// Every file and folder outside the store that had a say: pipeline files, sources, what was copied out.
    pub(super) seen: Vec<Witness>,
    /// The digest of the stages as they are written and wired, which lie beside.
    pub(super) subjects: Digest,
}

/// Stages of a run, as the next one will report them: each of them cached. They are made one by one while they are written,
/// since there may be very many.
pub(super) struct CachedStages<'r>(&'r [StageReport]);

impl<'r> CachedStages<'r> {
    /// None unless every stage has a key.
    pub(super) fn of(stages: &'r [StageReport]) -> Option<Self> {
        stages.iter().all(|stage| stage.key.is_some()).then_some(Self(stages))
    }
}

impl Serialize for CachedStages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|stage| StageReport {
            state: StageState::Cached,
            reason: None,
            reasons: Vec::new(),
            verdict: None,
            ..stage.clone()
        }))
    }
}

impl Record<CachedStages<'_>> {
    /// Keeps the record. Nothing depends on it, so a disk that is full or read-only only means that nothing is recalled.
    pub(super) fn keep(&self, store: &Store, question: Question) {
        let path = question.path(store);
        // Of a large pipeline it is large: it is written twice rather than held, the first time for its digest.
        let body = |to: &mut dyn Write| Ok(serde_json::to_writer(to, self)?);
        let written = replace(&path, |to| {
            let mut hasher = BufWriter::new(blake3::Hasher::new());
            body(&mut hasher)?;
            let digest: Digest = hasher.into_inner().map_err(io::IntoInnerError::into_error)?.finalize().into();
            writeln!(to, "{digest}")?;
            body(to)
        });
        if written.is_err() {
            // One of an earlier state would be found out, but only after it was read.
            let _ = fs_err::remove_file(&path);
        }
    }
}

/// Puts a file where there may be an older one: readers find the one or the other, whole. Unlike
/// [`refit_cache::write_atomic_with`] it waits for no disk: what is lost with the power is only made again.
pub(super) fn replace(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut writer = BufWriter::new(file.as_file());
    content(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.persist(path).map(drop).map_err(io::Error::from)
}

impl Record {
    /// The record that answers the question, if there is a whole one.
    pub(super) fn read(store: &Store, question: Question) -> Option<Self> {
        let text = std::fs::read(question.path(store)).ok()?;
        let (check, rest) = text.split_at_checked(64)?;
        let body = rest.strip_prefix(b"\n")?;
        if Digest::of(body).to_string().as_bytes() != check {
            return None;
        }
        let record: Self = serde_json::from_slice(body).ok()?;
        (record.version == VERSION && record.question == question.digest()).then_some(record)
    }
}
