use refit_cache::{RunId, Store, StoreError};
use refit_engine::run::{RunPlan, RunReport, RunStatus, StageReport, StageState};
use serde::de::DeserializeOwned;

/// What the store holds of a run. A run that was killed left its plan, but no report.
pub(crate) struct RunRecord {
    pub(crate) id: RunId,
    pub(crate) plan: Option<RunPlan>,
    pub(crate) report: Option<RunReport>,
    under_way: bool,
}

impl RunRecord {
    /// Reads the record of one run.
    pub(crate) fn read(store: &Store, id: &RunId) -> Result<Self, StoreError> {
        let folder = store.run_folder(id);
        let report: Option<RunReport> = read_json(&folder.join("report.json"));
        // The run that goes on began after its engine took the lock, and is the newest since.
        let under_way = report.is_none()
            && store.holder()?.is_some_and(|holder| id.began() >= holder.since)
            && store.runs()?.first() == Some(id);
        Ok(Self { id: id.clone(), plan: read_json(&folder.join("plan.json")), report, under_way })
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
        match self.report.as_ref().map(|report| report.status) {
            Some(RunStatus::Ok) => "ok",
            Some(RunStatus::Failed) => "failed",
            Some(RunStatus::Interrupted) => "interrupted",
            None if self.under_way => "running",
            None => "killed",
        }
    }

    /// The stages that are on record, in the order of the graph.
    pub(crate) fn stages(&self) -> &[StageReport] {
        self.report.as_ref().map_or(&[], |report| &report.stages)
    }

    /// `3 ran, 4 cached`.
    pub(crate) fn counts(&self) -> String {
        let states =
            [StageState::Ran, StageState::Cached, StageState::Failed, StageState::Blocked, StageState::Skipped];
        let counts = states.into_iter().filter_map(|state| {
            let number = self.stages().iter().filter(|stage| stage.state == state).count();
            (number > 0).then(|| format!("{number} {}", state_name(state)))
        });
        counts.collect::<Vec<_>>().join(", ")
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

/// A record that is not there, torn or of another version tells nothing; the other one of the run may.
fn read_json<T: DeserializeOwned>(path: &std::path::Path) -> Option<T> {
    serde_json::from_slice(&fs_err::read(path).ok()?).ok()
}
