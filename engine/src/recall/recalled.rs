use std::{path::Path, time::Instant};

use refit_cache::{Store, StoreError, StoreLock, Witness};

use super::{Question, Record, subjects::Subjects};
use crate::{
    explain::Subject,
    run::{Labels, Observer, RunError, RunEvent, RunPlan, RunReport, RunStatus, StageReport},
};

/// The known answer to a question: every stage is cached.
#[derive(Debug)]
pub struct Recalled {
    question: Question,
    record: Record,
    stages: Vec<StageReport>,
}

impl Recalled {
    /// Looks whether the answer is known and no file outside the store has changed: the pipeline is what it was.
    pub fn pipeline_as_it_was(store: &Store, question: Question) -> Option<Self> {
        let record = Record::read(store, question)?;
        if !record.seen.iter().all(Witness::holds) {
            return None;
        }
        let stages = serde_json::from_str(record.stages.get()).ok()?;
        Some(Self { question, record, stages })
    }

    /// Looks whether the answer is known and nothing it was made of has changed, in the store or outside.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn look(store: &Store, question: Question) -> Result<Option<Self>, StoreError> {
        let Some(found) = Self::pipeline_as_it_was(store, question) else { return Ok(None) };
        let Record { run, standing, .. } = &found.record;
        let unchanged = RunPlan::is_in(&store.run_folder(run)) && store.still_stands(standing)?;
        Ok(unchanged.then_some(found))
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        self.record.summary.pipeline.as_deref().unwrap_or_default()
    }

    /// The pipeline's file.
    pub fn file(&self) -> &Path {
        &self.record.file
    }

    /// A stage as it is written and wired; none where there is no such stage, or that is not known.
    pub fn subject(&self, store: &Store, stage: &str) -> Option<Subject> {
        let place = self.stages().iter().position(|report| report.name == stage)?;
        Subjects::read(self.question, store, self.record.subjects, place)
    }

    /// `--device` as it was given to the run whose plan is repeated.
    pub fn device(&self) -> &str {
        &self.record.device
    }

    /// Every stage as a run would report it, in the order of the graph.
    pub fn stages(&self) -> &[StageReport] {
        &self.stages
    }

    /// A run in which everything is cached, recorded like any other.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn run(
        self,
        store: &Store,
        lock: &StoreLock,
        labels: &Labels,
        observer: &dyn Observer,
    ) -> Result<RunReport, RunError> {
        let (begun, started) = (Instant::now(), jiff::Timestamp::now());
        let Self { record: Record { run: like, summary, sources, stages: text, exported, .. }, stages, .. } = self;
        let run = store.create_run(lock)?;
        let folder = store.run_folder(&run);
        labels.write_any(&folder)?;
        RunPlan::repeat(&store.run_folder(&like), &folder)?;
        for stage in &stages {
            if let (Some(key), Some(created)) = (stage.key, stage.created) {
                observer.observe(&RunEvent::Cached {
                    stage: stage.name.clone(),
                    key,
                    created,
                    log: stage.log.clone(),
                    remote: false,
                });
            }
        }
        let pipeline = summary.pipeline.clone().unwrap_or_default();
        let mut report = RunReport {
            run,
            pipeline,
            status: RunStatus::Ok,
            started,
            seconds: 0.0,
            variant: None,
            sweep: Vec::new(),
            stages: &*text,
            exported,
            sources,
        };
        report.seconds = begun.elapsed().as_secs_f64();
        report.write_soon(&folder)?;
        let report = report.with_stages(stages);
        // It is only there for speed: whoever misses it reads the report.
        let _ = summary.like(&report).write(&folder);
        Ok(report)
    }
}
