//! Stage kinds with the shapes that real ones have.

use crate::stage::{
    ArtifactKind::{Adapter, Comparison, History, Metrics, Model, Predictions, Records, Report, Tokens},
    InputPort, OutputPort, ParamProblem, Registry, Stage, StageError, StageKind, StepContext,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) fn registry() -> Registry {
    Registry::new(vec![
        StageKind::of::<Clean>(),
        StageKind::of::<Split>(),
        StageKind::of::<Tokenize>(),
        StageKind::of::<TrainLora>(),
        StageKind::of::<Evaluate>(),
        StageKind::of::<AbCompare>(),
        StageKind::of::<Summarize>(),
    ])
}

/// How duplicates are found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Dedup {
    /// Equal after normalisation.
    Exact,
    /// Nearly equal.
    Near,
    /// Not at all.
    Off,
}

/// What happens to a bad row.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnError {
    Fail,
    Skip,
}

/// Keeps rows by a number.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// The column.
    field: String,
    /// The least value that is kept.
    #[schemars(range(min = 0.0, max = 1.0))]
    min: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct CleanParams {
    /// How duplicates are found.
    dedup: Dedup,
    /// What happens to a bad row.
    on_error: OnError,
    /// Texts shorter than this are dropped.
    #[schemars(range(min = 1, max = 10_000))]
    min_length: u32,
    /// Whether HTML is removed.
    html: bool,
    /// Kept rows.
    filters: Vec<Filter>,
    /// Shown in the report.
    title: Option<String>,
}

impl Default for CleanParams {
    fn default() -> Self {
        Self {
            dedup: Dedup::Exact,
            on_error: OnError::Fail,
            min_length: 1,
            html: true,
            filters: Vec::new(),
            title: None,
        }
    }
}

macro_rules! stage {
    ($name:ident, $params:ty, $kind:literal, $summary:literal, [$($input:expr),*], [$($output:expr),*] $(, $check:expr)?) => {
        struct $name;
        impl Stage for $name {
            type Params = $params;
            const KIND: &'static str = $kind;
            const VERSION: u32 = 1;
            const SUMMARY: &'static str = $summary;
            const INPUTS: &'static [InputPort] = &[$($input),*];
            const OUTPUTS: &'static [OutputPort] = &[$($output),*];
            $(fn check(params: &Self::Params) -> Vec<ParamProblem> {
                $check(params)
            })?
            fn run(_: Self::Params, _: &StepContext) -> Result<(), StageError> {
                Ok(())
            }
        }
    };
}

stage!(
    Clean,
    CleanParams,
    "clean",
    "Reads raw rows and cleans them.",
    [InputPort::required("records", &[Records], "the raw rows")],
    [OutputPort::new("records", Records, "the clean rows"), OutputPort::new("rejected", Records, "the rest")]
);

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SplitParams {
    /// Share of the test part.
    #[schemars(range(min = 0.0, max = 1.0))]
    test: f64,
    /// Share of the validation part.
    #[schemars(range(min = 0.0, max = 1.0))]
    validation: f64,
    /// Chooses the parts.
    seed: u64,
}

impl Default for SplitParams {
    fn default() -> Self {
        Self { test: 0.2, validation: 0.1, seed: 7 }
    }
}

fn check_split(params: &SplitParams) -> Vec<ParamProblem> {
    if params.test + params.validation < 1.0 {
        return Vec::new();
    }
    let problem = ParamProblem::new("test", "the parts leave nothing to train on");
    vec![problem.help("`test` and `validation` must add up to less than 1")]
}

stage!(
    Split,
    SplitParams,
    "split",
    "Parts rows into train, validation and test.",
    [InputPort::required("records", &[Records], "the rows to part")],
    [
        OutputPort::new("train", Records, "to train on"),
        OutputPort::new("validation", Records, "to watch"),
        OutputPort::new("test", Records, "to score")
    ],
    check_split
);

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TokenizeParams {
    /// Longest row in tokens.
    #[schemars(range(min = 1))]
    max_length: u32,
}

impl Default for TokenizeParams {
    fn default() -> Self {
        Self { max_length: 512 }
    }
}

stage!(
    Tokenize,
    TokenizeParams,
    "tokenize",
    "Turns rows into token ids.",
    [
        InputPort::required("model", &[Model], "whose tokenizer"),
        InputPort::required("train", &[Records], "rows to train on"),
        InputPort::optional("validation", &[Records], "rows to watch")
    ],
    [OutputPort::new("tokens", Tokens, "ids and masks")]
);

/// Which layers get an adapter: `all-linear`, or their names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Targets {
    /// A set of layers.
    Set(TargetSet),
    /// The layers by name.
    Names(Vec<String>),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TargetSet {
    AllLinear,
    Attention,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Curve {
    Constant,
    Linear,
    Cosine,
}

/// How the learning rate changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    /// Its shape.
    curve: Curve,
    /// Share of the steps in which it rises.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    warmup: f64,
}

fn yes() -> bool {
    true
}

fn seven() -> u64 {
    7
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TrainLoraParams {
    /// Rank of the two factors. More holds more.
    #[schemars(range(min = 1, max = 1024))]
    rank: u32,
    /// Step size of the optimizer.
    #[schemars(extend("exclusiveMinimum" = 0.0), extend("maximum" = 1.0))]
    learning_rate: f64,
    /// Passes over the data.
    #[serde(default)]
    epochs: Option<u16>,
    /// Which layers get an adapter.
    #[serde(default)]
    target_modules: Option<Targets>,
    /// How the learning rate changes.
    #[serde(default)]
    schedule: Option<Schedule>,
    /// Whether the best adapter is kept.
    #[serde(default = "yes")]
    keep_best: bool,
    /// Chooses the initial adapter.
    #[serde(default = "seven")]
    seed: u64,
    /// Names of runs to compare with.
    #[serde(default)]
    #[schemars(length(min = 1))]
    tags: Option<Vec<String>>,
}

fn check_train(params: &TrainLoraParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    if let Some(Targets::Names(names)) = &params.target_modules {
        for (at, name) in names.iter().enumerate().filter(|(_, name)| name.contains('*')) {
            let problem = ParamProblem::new("target_modules", format!("`{name}` is no layer's name"));
            problems.push(problem.below(at.to_string()).help("layers are named like `q_proj`"));
        }
    }
    problems
}

stage!(
    TrainLora,
    TrainLoraParams,
    "train-lora",
    "Trains an adapter.",
    [
        InputPort::required("model", &[Model], "the base"),
        InputPort::required("tokens", &[Tokens], "what to learn"),
        InputPort::optional("adapter", &[Adapter], "where to start")
    ],
    [OutputPort::new("adapter", Adapter, "the result"), OutputPort::new("history", History, "the losses")],
    check_train
);

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EvaluateParams {
    /// A text put before every prompt.
    #[serde(default)]
    prefix: String,
}

stage!(
    Evaluate,
    EvaluateParams,
    "evaluate",
    "Scores a model.",
    [
        InputPort::required("model", &[Model], "the base"),
        InputPort::optional("adapter", &[Adapter], "what was trained"),
        InputPort::required("records", &[Records, Predictions], "what to score on")
    ],
    [OutputPort::new("predictions", Predictions, "row by row"), OutputPort::new("metrics", Metrics, "in sum")]
);

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AbCompareParams {}

stage!(
    AbCompare,
    AbCompareParams,
    "ab-compare",
    "Says which of two is better.",
    [InputPort::required("a", &[Predictions], "one side"), InputPort::required("b", &[Predictions], "the other side")],
    [OutputPort::new("comparison", Comparison, "the numbers"), OutputPort::new("report", Report, "to read")]
);

stage!(
    Summarize,
    AbCompareParams,
    "summarize",
    "Puts many results into one table.",
    [InputPort::required("parts", &[Metrics, History], "what to sum up").many()],
    [OutputPort::new("report", Report, "to read")]
);
