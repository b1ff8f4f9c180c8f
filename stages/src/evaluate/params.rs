use refit_metrics::Language;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lets a model answer every row's question by itself (greedy decoding), scores the answers against the row's own, and
/// measures the loss the row's answer has under the model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateParams {
    /// An answer is cut off after this many tokens.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_new_tokens: usize,
    /// Questions answered together: more is faster and takes more memory.
    #[schemars(range(min = 1, max = 4096))]
    pub batch_size: usize,
    /// Which variants the short metric names stand for; `auto` looks at the references.
    pub language: Language,
    /// A chat template in place of the model's own: `chatml`, `plain`, or the text of a Jinja template. The same as was
    /// given to `tokenize`.
    pub template: Option<String>,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self { max_new_tokens: 128, batch_size: 32, language: Language::Auto, template: None }
    }
}
