use std::{cell::OnceCell, collections::BTreeMap};

use jiff::Timestamp;
use refit_cache::{RunId, Store, StoreError};
use refit_engine::run::{Labels, RunSummary, StageState, runs};
use serde_json::{Value, json};

use super::record::{state_name, status, under_way};

/// One run in a list of runs: everything about it is found by a name, whether it is a fact, a parameter or a score.
pub(crate) struct Row<'s> {
    pub(crate) labels: Labels,
    pub(crate) summary: RunSummary,
    /// `ok`, `failed`, `interrupted`, `running`, `killed`.
    pub(crate) status: &'static str,
    store: &'s Store,
    parameters: OnceCell<BTreeMap<String, Value>>,
}

/// The names of facts. A parameter or score of another spelling never hides them: both have a dot.
pub(super) const FACTS: [&str; 8] = ["run", "name", "tags", "began", "pipeline", "status", "stages", "seconds"];

impl<'s> Row<'s> {
    /// Every run, newest first; each is read when it is asked for.
    pub(crate) fn all(store: &'s Store) -> Result<impl ExactSizeIterator<Item = Self> + 's, StoreError> {
        let under_way = under_way(store)?;
        Ok(runs(store)?.into_iter().map(move |run| Self::read(store, &run, under_way)))
    }

    /// One run.
    pub(super) fn one(store: &'s Store, run: &RunId) -> Result<Self, StoreError> {
        Ok(Self::read(store, run, under_way(store)?))
    }

    fn read(store: &'s Store, run: &RunId, under_way: Option<Timestamp>) -> Self {
        let summary = RunSummary::read(store, run);
        let status = status(summary.status, run, under_way);
        let labels = Labels::read(&store.run_folder(run));
        Self { labels, summary, status, store, parameters: OnceCell::new() }
    }

    /// The run.
    pub(crate) fn id(&self) -> &RunId {
        &self.summary.run
    }

    /// `params.NAME` and `STAGE.PATH` → value.
    pub(crate) fn parameters(&self) -> &BTreeMap<String, Value> {
        match &self.summary.parameters {
            Some(parameters) => parameters,
            None => self.parameters.get_or_init(|| self.summary.all_parameters(self.store)),
        }
    }

    /// What has that name: a fact, a score, a parameter, in this order.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        match name {
            "run" => Some(json!(self.id())),
            "name" => self.labels.name.as_ref().map(|name| json!(name)),
            "tags" => (!self.labels.tags.is_empty()).then(|| json!(self.tags())),
            "began" => Some(json!(self.id().began())),
            "pipeline" => self.summary.pipeline.as_ref().map(|name| json!(name)),
            "status" => Some(json!(self.status)),
            "stages" => (!self.summary.stages.is_empty()).then(|| json!(self.counts())),
            "seconds" => self.summary.seconds.map(|seconds| json!(seconds)),
            name => self.summary.scores.get(name).or_else(|| self.parameters().get(name)).cloned(),
        }
    }

    /// The tags in one text.
    pub(crate) fn tags(&self) -> String {
        self.labels.tags.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// `3 ran, 4 cached`.
    pub(crate) fn counts(&self) -> String {
        let states =
            [StageState::Ran, StageState::Cached, StageState::Failed, StageState::Blocked, StageState::Skipped];
        let counts = states
            .into_iter()
            .filter_map(|state| Some(format!("{} {}", self.summary.stages.get(&state)?, state_name(state))));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// For scripts.
    pub(crate) fn as_json(&self) -> Value {
        let stages: serde_json::Map<String, Value> =
            self.summary.stages.iter().map(|(state, count)| (state_name(*state).to_owned(), json!(count))).collect();
        json!({
            "run": self.id(), "name": self.labels.name, "tags": self.labels.tags, "began": self.id().began(),
            "pipeline": self.summary.pipeline, "status": self.status, "stages": stages,
            "seconds": self.summary.seconds, "overrides": self.summary.overrides,
            "parameters": self.parameters(), "scores": self.summary.scores,
        })
    }
}
