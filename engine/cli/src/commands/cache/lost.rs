//! Which stages made what is lost, and how it is made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use refit_cache::{RunId, StepKey, Store, StoreError, UsedResult, VerifyReport};
use serde::Serialize;

use crate::commands::runs::RunRecord;

/// A result that cannot be handed out any more.
#[derive(Debug, Serialize)]
pub(super) struct LostResult {
    key: StepKey,
    /// The stage kind, where the manifest can be read.
    kind: Option<String>,
    /// A run that made or used it, and the stage's name there.
    run: Option<RunId>,
    stage: Option<String>,
    /// What makes it again.
    command: Option<String>,
}

impl LostResult {
    /// Looks for each in the records of runs, the newest first.
    pub(super) fn find(store: &Store, report: &VerifyReport) -> Result<Vec<Self>, StoreError> {
        let mut wanted: BTreeSet<StepKey> = report.lost_results();
        let mut found: BTreeMap<StepKey, Self> = BTreeMap::new();
        for id in store.runs()? {
            if wanted.is_empty() {
                break;
            }
            let record = RunRecord::read(store, &id)?;
            for stage in record.stages() {
                let Some(key) = stage.key.filter(|key| wanted.remove(key)) else { continue };
                let command = record.plan.as_ref().map(|plan| again(&plan.file, &plan.overrides, &stage.name));
                let stage = Some(stage.name.clone());
                found.insert(key, Self { key, kind: kind(report, &key), run: Some(id.clone()), stage, command });
            }
        }
        found.extend(
            wanted
                .into_iter()
                .map(|key| (key, Self { key, kind: kind(report, &key), run: None, stage: None, command: None })),
        );
        Ok(found.into_values().collect())
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let key = self.key.short();
        let kind = self.kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        match (&self.stage, &self.run, &self.command) {
            (Some(stage), Some(run), Some(command)) => {
                format!("lost result {key}{kind}: `{stage}` of run {run}; to make it again: {command}")
            }
            (Some(stage), Some(run), None) => format!("lost result {key}{kind}: `{stage}` of run {run}"),
            _ => format!("lost result {key}{kind}: no run on record used it"),
        }
    }
}

fn kind(report: &VerifyReport, key: &StepKey) -> Option<String> {
    report.incomplete.get(key).map(|manifest| manifest.kind.clone())
}

/// What a run had before its step was carried out anew, and what cannot be handed out any more.
#[derive(Debug, Serialize)]
pub(super) struct LostEarlier {
    key: StepKey,
    /// The newest run that had it, and the stage's name there.
    run: Option<RunId>,
    stage: Option<String>,
}

impl LostEarlier {
    /// Looks for each in the records of runs, the newest first.
    pub(super) fn find(store: &Store, report: &VerifyReport) -> Result<Vec<Self>, StoreError> {
        let mut wanted: BTreeSet<UsedResult> = report.lost_earlier.iter().copied().collect();
        let mut found = Vec::new();
        for id in store.runs()? {
            if wanted.is_empty() {
                break;
            }
            for stage in RunRecord::read(store, &id)?.stages() {
                let Some(used) = stage.used().filter(|used| wanted.remove(used)) else { continue };
                found.push(Self { key: used.key, run: Some(id.clone()), stage: Some(stage.name.clone()) });
            }
        }
        found.extend(wanted.into_iter().map(|used| Self { key: used.key, run: None, stage: None }));
        Ok(found)
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let key = self.key.short();
        match (&self.stage, &self.run) {
            (Some(stage), Some(run)) => {
                format!(
                    "lost result {key}: what `{stage}` of run {run} made; it was made anew with other outputs since"
                )
            }
            _ => format!("lost result {key}: made anew with other outputs since; no run on record had it"),
        }
    }
}

/// `refit run FILE -S … --to STAGE`, ready for a shell.
fn again(file: &Path, overrides: &[String], stage: &str) -> String {
    let mut words = vec!["refit".to_owned(), "run".to_owned(), quoted(&file.to_string_lossy())];
    words.extend(overrides.iter().flat_map(|set| ["-S".to_owned(), quoted(set)]));
    words.extend(["--to".to_owned(), quoted(stage)]);
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let sets = ["params.rank=8".to_owned(), "params.note=it's new".to_owned()];
        assert_eq!(
            again(Path::new("my work/pipeline.yaml"), &sets, "train[rank=8]"),
            "refit run 'my work/pipeline.yaml' -S params.rank=8 -S 'params.note=it'\\''s new' --to 'train[rank=8]'"
        );
    }
}
