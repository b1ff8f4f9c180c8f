//! What the results of a run say about the model: metrics and verdicts.

use refit_engine::run::StageReport;
use serde_json::{Map, Value};

use super::runs::importance;
use crate::ui::{Table, score, width};

/// The scores of one stage.
#[derive(Debug, Clone)]
pub(crate) struct Scores {
    pub(crate) stage: String,
    /// Metric → value, the main one first.
    pub(crate) metrics: Map<String, Value>,
    /// Of a comparison: `a better`, `b better`, `inconclusive`, `equivalent`.
    pub(crate) verdict: Option<String>,
}

const VERDICT: &str = "verdict";
/// Between two columns.
const GAP: usize = 2;

impl Scores {
    /// The scores of every stage that has some, in the order of the run.
    pub(crate) fn of(stages: &[StageReport]) -> Vec<Self> {
        let scored = stages.iter().filter(|stage| !stage.scores.is_empty());
        let scores = scored.map(|stage| {
            let mut metrics = stage.scores.clone();
            let verdict = metrics.remove(VERDICT).and_then(|verdict| verdict.as_str().map(ToOwned::to_owned));
            Self { stage: stage.name.clone(), metrics: by_importance(metrics), verdict }
        });
        scores.collect()
    }

    /// The value of a metric, if it is a number.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).and_then(Value::as_f64)
    }

    /// For scripts.
    pub(crate) fn as_json(&self) -> Value {
        serde_json::json!({ "stage": self.stage, "metrics": self.metrics, "verdict": self.verdict })
    }
}

/// The main metrics of all stages in columns, as many as there is room for, and the verdicts below.
pub(crate) fn table(scores: &[Scores], room: Option<usize>) -> Vec<String> {
    let mut names: Vec<&String> = Vec::new();
    for name in scores.iter().flat_map(|scores| scores.metrics.keys()) {
        // The variants have full names; `--json` shows them.
        if !name.contains(':') && !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| importance(name));
    let cell = |scores: &Scores, name: &str| scores.value(name).map(score).unwrap_or_default();
    if let Some(room) = room {
        let mut taken = scores.iter().map(|scores| width(&scores.stage)).max().unwrap_or(0);
        let fitting = names.iter().take_while(|name| {
            let widest = scores.iter().map(|scores| width(&cell(scores, name))).max().unwrap_or(0);
            taken += widest.max(width(name)) + GAP;
            taken <= room
        });
        let fitting = fitting.count().max(1);
        names.truncate(fitting);
    }
    let mut table = Table::new();
    if !names.is_empty() {
        table.row([""].into_iter().chain(names.iter().map(|name| name.as_str())));
    }
    for scores in scores.iter().filter(|scores| scores.verdict.is_none()) {
        table.row([scores.stage.clone()].into_iter().chain(names.iter().map(|name| cell(scores, name))));
    }
    let mut lines = table.lines();
    let verdicts = scores.iter().filter_map(|scores| Some(format!("{}: {}", scores.stage, scores.verdict.as_ref()?)));
    lines.extend(verdicts);
    lines
}

/// The metrics as people read them; what this refit does not know comes last.
fn by_importance(metrics: Map<String, Value>) -> Map<String, Value> {
    let mut entries: Vec<_> = metrics.into_iter().collect();
    entries.sort_by_key(|(name, _)| importance(name));
    entries.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scores(stage: &str, metrics: Value) -> Scores {
        let metrics = by_importance(metrics.as_object().cloned().unwrap_or_default());
        Scores { stage: stage.to_owned(), metrics, verdict: None }
    }

    #[test]
    fn what_people_look_for_first_is_shown_however_narrow_the_terminal_is() {
        let metrics = json!({
            "rouge_1": 0.5, "loss": 1.5, "token_f1": 0.4, "bleu:sacrebleu-13a": 12.0, "exact_match": 0.25, "rouge_2": 0.3,
            "bleu": 12.0, "rouge_l": 0.4567, "mine": 1.0,
        });
        let mut all = vec![scores("before", metrics.clone()), scores("after", metrics)];
        all.push(Scores { stage: "compare".into(), metrics: Map::new(), verdict: Some("b better".into()) });
        insta::assert_snapshot!(table(&all, None).join("\n"));
        insta::assert_snapshot!(table(&all, Some(30)).join("\n"));
    }
}
