use std::{collections::BTreeMap, time::SystemTime};

use refit_cache::{Digest, RunId, Standing, Store, Tree, Witness};
use serde::{Deserialize, Serialize};

use super::Question;
use crate::run::{RunReport, RunSummary, SourceReport, StageReport, StageState};

const VERSION: u32 = 1;

/// What is kept of a run that ended with every stage's result in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    question: Digest,
    /// The run: what it set out to do is what the next one does.
    pub(super) run: RunId,
    /// `--device` as given to it.
    pub(super) device: String,
    /// What is listed of it.
    pub(super) summary: RunSummary,
    pub(super) sources: BTreeMap<String, SourceReport>,
    /// Every stage, cached, in the order of the graph.
    pub(super) stages: Vec<StageReport>,
    /// What is copied out: path relative to the pipeline's folder → `stage.port`.
    pub(super) exported: BTreeMap<String, String>,
    /// The files of the store behind the stages.
    pub(super) standing: Standing,
    /// Every file and folder outside the store that had a say: pipeline files, sources, what was copied out.
    pub(super) seen: Vec<Witness>,
}

impl Record {
    /// What is to be known of a run that ended well. None unless every stage has its result in the store, and the
    /// witnesses saw their files before they were known to be what the run read.
    pub(crate) fn of(
        question: Question,
        report: &RunReport,
        device: &str,
        summary: RunSummary,
        outputs: &BTreeMap<String, BTreeMap<String, Tree>>,
        store: &Store,
        seen: Vec<Witness>,
    ) -> Option<Self> {
        let stages = report.stages.iter().map(|stage| {
            let report = StageReport {
                state: StageState::Cached,
                reason: None,
                reasons: Vec::new(),
                verdict: None,
                ..stage.clone()
            };
            (stage.key.is_some() && outputs.contains_key(&stage.name)).then_some(report)
        });
        let stages = stages.collect::<Option<Vec<_>>>()?;
        let results =
            stages.iter().filter_map(|stage| Some((stage.key?, outputs.get(&stage.name)?.values().collect())));
        let standing = store.standing(results)?;
        Some(Self {
            version: VERSION,
            question: question.digest(),
            run: report.run.clone(),
            device: device.to_owned(),
            summary,
            sources: report.sources.clone(),
            stages,
            exported: report.exported.clone(),
            standing,
            seen,
        })
    }

    /// Keeps the record, unless a file it speaks of was written so lately that a second change might not show.
    ///
    /// Nothing depends on it, so a disk that is full or read-only only means that nothing is recalled.
    pub(crate) fn keep(&self, store: &Store, question: Question) {
        let now = SystemTime::now();
        if !self.seen.iter().all(|witness| witness.is_settled(now)) {
            return;
        }
        let path = question.path(store);
        let Some(folder) = path.parent() else { return };
        let Ok(body) = serde_json::to_vec(self) else { return };
        let text = [Digest::of(&body).to_string().as_bytes(), b"\n", &body].concat();
        let written = fs_err::create_dir_all(folder).is_ok()
            && tempfile::NamedTempFile::new_in(folder).is_ok_and(|file| {
                std::io::Write::write_all(&mut file.as_file(), &text).is_ok() && file.persist(&path).is_ok()
            });
        if !written {
            // One of an earlier state would be found out, but only after it was read.
            let _ = fs_err::remove_file(&path);
        }
    }

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
