use refit_engine::stage::ParamProblem;
use refit_llm::generate::Sampling;
use refit_metrics::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::precision::{Precision, Quantization};

/// Lets a model answer every row's question by itself, scores the answers against the row's own, and measures the loss
/// the row's answer has under the model. Unless a `temperature` is given, each next token is the most likely one.
/// On a CPU the answers are the same whatever the number of threads and however many are given together.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateParams {
    /// An answer is cut off after this many tokens.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_new_tokens: usize,
    /// Texts that end an answer, beside the token that ends a turn. The answer is what comes before the first of them.
    pub stop: Vec<String>,
    /// Draws each next token instead of taking the most likely one; its logits are divided by this number first. 0 does
    /// not draw.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// Draws only among so many of the most likely tokens. Left out: among all.
    #[schemars(range(min = 1))]
    pub top_k: Option<usize>,
    /// Draws only among the most likely tokens that have this probability together.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
    /// Draws only among tokens that are at least this probable in proportion to the most likely one.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: f64,
    /// Makes tokens of the question and of the answer so far less likely: their logits are divided by this number, or
    /// multiplied where they are negative. It counts at temperature 0 too; 1 changes nothing.
    #[schemars(range(min = 0.1, max = 100.0))]
    pub repetition_penalty: f64,
    /// Decides, with a row's id and the place in the answer, what is drawn.
    pub seed: u64,
    /// Questions answered together: more is faster and takes more memory.
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: usize,
    /// How exactly the model's weights are kept and multiplied: `f32`, or `bf16`, which is faster on processors with
    /// fast AVX512-BF16 (AMD's), AVX512-FP16 or AMX, takes half the memory on a GPU and on other processors, and
    /// changes losses in their third digit.
    pub precision: Precision,
    /// What becomes of a model whose weights are quantised (a GGUF file): `keep` leaves them in their blocks and unpacks what a
    /// product meets, on a CPU and on a GPU; `unpack` makes floats of them when the model is read: several times the memory, and on
    /// a GPU less time for each token. In f32 the numbers are the same. `nf4` also brings the linear layers of a model in floats into
    /// NF4 when it is read: say it where an adapter is asked that was trained so.
    pub quantization: Quantization,
    /// Which variants the short metric names stand for; `auto` looks at the references.
    pub language: Language,
    /// A chat template in place of the model's own: `chatml`, `plain`, or the text of a Jinja template. The same as was
    /// given to `tokenize`.
    pub template: Option<String>,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self {
            max_new_tokens: 128,
            stop: Vec::new(),
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
            batch_size: 32,
            precision: Precision::F32,
            quantization: Quantization::Keep,
            language: Language::Auto,
            template: None,
        }
    }
}

impl EvaluateParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems: Vec<ParamProblem> = (0..)
            .zip(&self.stop)
            .filter(|(_, text)| text.is_empty())
            .map(|(at, _): (usize, _)| {
                ParamProblem::new("stop", "an empty text would end every answer before it began")
                    .below(at.to_string())
                    .help("leave it out")
            })
            .collect();
        if self.temperature == 0.0 {
            let set = [("top_k", self.top_k.is_some()), ("top_p", self.top_p < 1.0), ("min_p", self.min_p > 0.0)];
            problems.extend(set.into_iter().filter(|(_, set)| *set).map(|(name, _)| {
                ParamProblem::new(name, "nothing is drawn at temperature 0, so this would have no effect")
                    .help("give a `temperature`, such as 0.7")
            }));
        }
        problems
    }

    /// The same as generation takes it.
    pub(super) fn sampling(&self) -> Sampling {
        Sampling {
            repetition_penalty: self.repetition_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
        }
    }
}
