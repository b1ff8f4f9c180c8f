use refit_engine::stage::ParamProblem;
use refit_metrics::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Compares two sets of predictions row by row.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbCompareParams {
    /// The metric the verdict is taken from: `rouge_l`, `rouge_1`, `rouge_2`, `bleu`, `token_f1`, `exact_match`, a full
    /// name such as `bleu:lf-char`, `loss`, or a score that every row of both sides has under `scores`.
    pub primary: String,
    /// The other metrics of the report. Without any: the six short names, and `loss` where every row has it.
    pub metrics: Vec<String>,
    /// Confidence of the intervals; 1 − confidence is the error rate of the tests.
    #[schemars(range(min = 0.5, max = 0.9999))]
    pub confidence: f64,
    /// Resamples of the bootstrap and of the permutation test.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub resamples: u32,
    /// Seed of both; the same seed gives the same report, byte for byte.
    pub seed: u64,
    /// Differences of the primary metric up to this, either way, count as none: the verdict is `equivalent` when the
    /// whole interval lies within. In the metric's own scale (`rouge_l`: 0–1, `bleu`: 0–100).
    pub margin: Option<f64>,
    /// Which variants the short names stand for; `auto` looks at the references.
    pub language: Language,
    /// What A is called in the report.
    #[schemars(length(min = 1))]
    pub name_a: String,
    /// What B is called in the report.
    #[schemars(length(min = 1))]
    pub name_b: String,
    /// How many of the rows that changed most are shown, in each direction.
    #[schemars(range(max = 500))]
    pub top_rows: usize,
    /// Goes on when every output of A and B is the same. That is refused otherwise, since it almost always means that
    /// an adapter was not loaded.
    pub allow_identical: bool,
}

impl Default for AbCompareParams {
    fn default() -> Self {
        Self {
            primary: "rouge_l".into(),
            metrics: Vec::new(),
            confidence: 0.95,
            resamples: 10_000,
            seed: 7,
            margin: None,
            language: Language::Auto,
            name_a: "A".into(),
            name_b: "B".into(),
            top_rows: 8,
            allow_identical: false,
        }
    }
}

impl AbCompareParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if self.name_a == self.name_b {
            problems.push(ParamProblem::new("name_b", "A and B have the same name").help("give each side its own"));
        }
        if self.margin.is_some_and(|margin| !margin.is_finite() || margin <= 0.0) {
            problems.push(ParamProblem::new("margin", "a margin is a number above 0").help("leave it out for none"));
        }
        for (index, name) in self.metrics.iter().enumerate() {
            if self.metrics[..index].contains(name) {
                let mut problem = ParamProblem::new("metrics", format!("`{name}` is listed twice"));
                problem.path.push(index.to_string());
                problems.push(problem);
            }
        }
        problems
    }
}
