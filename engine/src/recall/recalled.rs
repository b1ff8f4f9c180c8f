use std::time::Instant;

use refit_cache::{Store, StoreError, StoreLock, Witness};

use super::{Question, Record};
use crate::run::{Labels, Observer, RunError, RunEvent, RunPlan, RunReport, RunStatus, StageReport};

/// The known answer to a question: every stage is cached.
#[derive(Debug)]
pub struct Recalled {
    record: Record,
}

impl Recalled {
    /// Looks whether the answer is known and nothing it was made of has changed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn look(store: &Store, question: Question) -> Result<Option<Self>, StoreError> {
        let Some(record) = Record::read(store, question) else { return Ok(None) };
        let unchanged = record.seen.iter().all(Witness::holds)
            && RunPlan::is_in(&store.run_folder(&record.run))
            && store.still_stands(&record.standing)?;
        Ok(unchanged.then_some(Self { record }))
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        self.record.summary.pipeline.as_deref().unwrap_or_default()
    }

    /// `--device` as it was given to the run whose plan is repeated.
    pub fn device(&self) -> &str {
        &self.record.device
    }

    /// Every stage as a run would report it, in the order of the graph.
    pub fn stages(&self) -> &[StageReport] {
        &self.record.stages
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
        let Record { run: like, summary, sources, stages, exported, .. } = self.record;
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
            stages,
            exported,
            sources,
        };
        report.seconds = begun.elapsed().as_secs_f64();
        report.write_soon(&folder)?;
        // It is only there for speed: whoever misses it reads the report.
        let _ = summary.like(&report).write(&folder);
        Ok(report)
    }
}
