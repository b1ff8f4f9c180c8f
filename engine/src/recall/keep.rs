use std::{collections::BTreeMap, time::SystemTime};

use indexmap::IndexMap;

use refit_cache::{Standing, Store, StoreError, StoreLock, Tree, Witness};

use super::{
    Question, Record,
    record::{CachedStages, VERSION},
    subjects::Subjects,
};
use crate::{
    explain::Subject,
    graph::Pipeline,
    plan::{LockFile, Sources, content},
    run::{RunOptions, RunReport, RunStatus, RunSummary, StageReport},
};

/// A run that is over.
pub(crate) struct Finished<'r> {
    pub(crate) pipeline: &'r Pipeline,
    pub(crate) options: &'r RunOptions,
    pub(crate) sources: &'r Sources,
    /// Stage → port → artifact.
    pub(crate) outputs: &'r BTreeMap<&'r str, &'r IndexMap<String, Tree>>,
    pub(crate) report: &'r RunReport,
    pub(crate) summary: RunSummary,
}

impl Finished<'_> {
    /// Keeps what the next run of the same needs to know; where that cannot be known for certain, nothing.
    pub(crate) fn keep(self, store: &Store, lock: &StoreLock) {
        let Self { pipeline, options, report, .. } = self;
        // What is odd about a pipeline is said every time, with its place. A sweep has more than one record to write.
        if report.status != RunStatus::Ok || !pipeline.warnings.is_empty() || !pipeline.variants.is_empty() {
            return;
        }
        // What counts besides files is looked up anew, and what is never cached runs.
        if !pipeline.stages.stages().all(|node| node.cache && node.outside.is_empty()) {
            return;
        }
        let asked = Question::new(&pipeline.file, &options.overrides, &options.selection, &options.worker);
        let (Some(question), Ok(Some(seen))) = (asked, self.witnesses(store, lock)) else { return };
        // A file that was written so lately that a second change might not show is none to go by.
        let now = SystemTime::now();
        if !seen.iter().all(|witness| witness.is_settled(now)) {
            return;
        }
        let Ok(subjects) = Subjects::write(question, store, self.subjects()) else { return };
        let (Some(stages), Some(standing)) = (CachedStages::of(&report.stages), self.standing(store)) else { return };
        let record = Record {
            version: VERSION,
            question: question.digest(),
            run: report.run.clone(),
            file: pipeline.file.clone(),
            device: options.settings.device.clone(),
            summary: self.summary,
            sources: report.sources.clone(),
            stages,
            exported: report.exported.clone(),
            standing,
            seen,
            subjects,
        };
        record.keep(store, question);
    }

    /// The files of the store behind the stages. None unless every stage has its result there.
    fn standing(&self, store: &Store) -> Option<Standing> {
        let result =
            |stage: &StageReport| Some((stage.key?, self.outputs.get(stage.name.as_str())?.values().collect()));
        store.standing(self.report.stages.iter().map(result).collect::<Option<Vec<_>>>()?)
    }

    /// Every stage as it is written and wired, in the order of the graph.
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let output = |stage: &str, port: &str| Some(self.outputs.get(stage)?.get(port)?.digest);
        let stages = self.pipeline.stages.stages();
        stages.map(move |node| Subject::of(self.pipeline, self.sources, node, |input| content(input, output)))
    }

    /// Sees every file that had a say. None when one is not what the run read any more: each is seen first and compared
    /// then, so that a change in between cannot go unnoticed.
    fn witnesses(&self, store: &Store, lock: &StoreLock) -> Result<Option<Vec<Witness>>, StoreError> {
        let Self { pipeline, sources, .. } = self;
        let mut seen: Vec<Witness> = pipeline.files.iter().map(|file| Witness::of(file)).collect();
        seen.push(Witness::of(&LockFile::path(pipeline)));
        for (path, digest) in sources.here() {
            seen.extend(store.witness(path)?);
            if store.measure(path, Some(lock))?.digest != digest {
                return Ok(None);
            }
        }
        for export in &pipeline.outputs {
            let to = pipeline.folder.join(&export.to);
            seen.extend(store.witness(&to)?);
            let wanted = self.report.stages.iter().flat_map(|stage| stage.outputs.values());
            let wanted = wanted.filter(|output| output.path.as_ref() == Some(&to)).map(|output| output.digest);
            let there = store.measure_copy(&to, Some(lock))?.digest;
            if !wanted.into_iter().any(|digest| digest == there) {
                return Ok(None);
            }
        }
        let unchanged = pipeline.is_as_written()
            && (sources.lock_file().is_empty()
                || LockFile::read(&LockFile::path(pipeline)).is_ok_and(|there| there == sources.lock_file()));
        Ok(unchanged.then_some(seen))
    }
}
