//! What the results of a run say about the model: metrics and verdicts, read from the store.

use refit_cache::{Content, StepKey, Store, Tree};
use refit_engine::run::StageReport;
use refit_metrics::METRICS;
use serde_json::{Map, Value};

use crate::ui::{Table, score};

/// The scores of one stage.
#[derive(Debug, Clone)]
pub(crate) struct Scores {
    pub(crate) stage: String,
    /// Metric → value, the main one first.
    pub(crate) metrics: Map<String, Value>,
    /// Of a comparison: `a better`, `b better`, `inconclusive`, `equivalent`.
    pub(crate) verdict: Option<String>,
}

/// People are shown this many metrics; `--json` has all.
const SHOWN: usize = 6;

impl Scores {
    /// The scores of every stage that has some, in the order of the run. What is no longer in the store has none.
    pub(crate) fn of(store: &Store, stages: &[StageReport]) -> Vec<Self> {
        let scored = stages.iter().filter_map(|stage| Self::of_step(store, &stage.name, stage.key.as_ref()?));
        scored.collect()
    }

    fn of_step(store: &Store, stage: &str, key: &StepKey) -> Option<Self> {
        let manifest = store.manifest(key).ok().flatten()?;
        let read = |name: &str| manifest.outputs.values().find_map(|tree| read_json(store, tree, name));
        let metrics = in_reading_order(read("metrics.json").unwrap_or_default());
        let verdict = read("comparison.json")
            .and_then(|comparison| comparison.get("verdict").and_then(Value::as_str).map(ToOwned::to_owned));
        (!metrics.is_empty() || verdict.is_some()).then(|| Self { stage: stage.to_owned(), metrics, verdict })
    }

    /// The value of a metric, if it is a number.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).and_then(Value::as_f64)
    }

    /// The scores in a few words: `after rouge_l 0.7123`, `compare: b better`.
    pub(crate) fn brief(&self) -> Option<String> {
        if let Some(verdict) = &self.verdict {
            return Some(format!("{}: {verdict}", self.stage));
        }
        let (name, value) = self.metrics.iter().find_map(|(name, value)| Some((name, value.as_f64()?)))?;
        Some(format!("{} {name} {}", self.stage, score(value)))
    }

    /// For scripts.
    pub(crate) fn as_json(&self) -> Value {
        serde_json::json!({ "stage": self.stage, "metrics": self.metrics, "verdict": self.verdict })
    }
}

/// The main metrics of all stages in columns, and the verdicts below.
pub(crate) fn table(scores: &[Scores]) -> Vec<String> {
    let mut names: Vec<&String> = Vec::new();
    for name in scores.iter().flat_map(|scores| scores.metrics.keys()) {
        if !name.contains(':') && !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(SHOWN);
    let mut table = Table::new();
    if !names.is_empty() {
        table.row([""].into_iter().chain(names.iter().map(|name| name.as_str())));
    }
    for scores in scores {
        let values = names.iter().map(|name| scores.value(name).map(score).unwrap_or_default());
        let cells = scores.verdict.clone().map_or_else(|| values.collect(), |verdict| vec![verdict]);
        table.row([scores.stage.clone()].into_iter().chain(cells));
    }
    table.lines()
}

/// The metrics as people read them; what this refit does not know comes last.
fn in_reading_order(metrics: Map<String, Value>) -> Map<String, Value> {
    let rank = |name: &str| METRICS.iter().position(|metric| metric.name == name).unwrap_or(METRICS.len());
    let mut entries: Vec<_> = metrics.into_iter().collect();
    entries.sort_by_key(|(name, _)| rank(name));
    entries.into_iter().collect()
}

/// A JSON object in a folder of an artifact.
fn read_json(store: &Store, tree: &Tree, name: &str) -> Option<Map<String, Value>> {
    let Content::Folder(entries) = &tree.content else { return None };
    let entry = entries.iter().find(|entry| entry.path == name)?;
    serde_json::from_slice(&fs_err::read(store.object_path(&entry.digest)).ok()?).ok()
}
