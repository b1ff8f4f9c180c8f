use jiff::Timestamp;
use refit_cache::{RunId, Store, StoreError};
use refit_engine::run::{Labels, RunPlan, RunReport, RunStatus, StageReport, StageState};

/// All that the store holds of a run. A run that was killed left its plan, but no report.
pub(crate) struct RunRecord {
    pub(crate) id: RunId,
    pub(crate) labels: Labels,
    pub(crate) plan: Option<RunPlan>,
    pub(crate) report: Option<RunReport>,
    status: &'static str,
}

impl RunRecord {
    /// Reads the record of one run.
    pub(crate) fn read(store: &Store, id: &RunId) -> Result<Self, StoreError> {
        let folder = store.run_folder(id);
        let report = RunReport::read(&folder);
        let status = status(report.as_ref().map(|report| report.status), id, under_way(store)?);
        Ok(Self { id: id.clone(), labels: Labels::read(&folder), plan: RunPlan::read(&folder), report, status })
    }

    /// Reads the record of every run, newest first.
    pub(crate) fn all(store: &Store) -> Result<impl Iterator<Item = Result<Self, StoreError>> + '_, StoreError> {
        Ok(store.runs()?.into_iter().map(|id| Self::read(store, &id)))
    }

    /// The pipeline's name; none when nothing of the record can be read.
    pub(crate) fn pipeline(&self) -> Option<&str> {
        let planned = self.plan.as_ref().map(|plan| plan.pipeline.as_str());
        planned.or(self.report.as_ref().map(|report| report.pipeline.as_str()))
    }

    /// `ok`, `failed`, `interrupted`; `running` and `killed` for a run without a report.
    pub(crate) fn status(&self) -> &'static str {
        self.status
    }

    /// The stages that are on record, in the order of the graph.
    pub(crate) fn stages(&self) -> &[StageReport] {
        self.report.as_ref().map_or(&[], |report| &report.stages)
    }
}

/// Since when the engine that runs now holds the store: what began since goes on as long as it has no report. Of a sweep, that
/// is more than one run.
pub(super) fn under_way(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    Ok(store.holder()?.map(|holder| holder.since))
}

/// The word for how a run ended.
pub(super) fn status(ended: Option<RunStatus>, run: &RunId, under_way: Option<Timestamp>) -> &'static str {
    match ended {
        Some(RunStatus::Ok) => "ok",
        Some(RunStatus::Failed) => "failed",
        Some(RunStatus::Interrupted) => "interrupted",
        None if under_way.is_some_and(|since| run.began() >= since) => "running",
        None => "killed",
    }
}

/// The word for a state, as in `--json`.
pub(crate) fn state_name(state: StageState) -> &'static str {
    match state {
        StageState::Cached => "cached",
        StageState::Ran => "ran",
        StageState::Failed => "failed",
        StageState::Blocked => "blocked",
        StageState::Skipped => "skipped",
    }
}
