use refit_engine::stage::ParamProblem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Turns conversations into tokens, exactly as transformers' `apply_chat_template` does. The loss is taken over what the
/// assistant says, end-of-turn token included, and a row ends with that token.
///
/// A pair of a chosen and a rejected answer becomes two rows that follow each other; of these, and of answers with a label,
/// the last turn is learnt, whatever `train_on` says. A text that is no conversation is learnt as a whole, without template,
/// with the end-of-text token after it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizeParams {
    /// The longest row in tokens. A model trained on fewer positions lowers it, with a warning. A longer text that is no
    /// conversation is cut into rows of this length, each of which begins with the last token of the one before: nothing is
    /// lost.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub max_length: usize,
    /// What happens to a row that is longer: `drop` leaves it out; `truncate` cuts its end, so that the model does not
    /// see where such an answer ends; `error` ends the step. A pair is as long as the longer of its two. All of it is counted
    /// in the report, and a warning says how many rows and tokens were lost.
    pub overlong: Overlong,
    /// What the model learns: `all` assistant turns of a conversation, or the `last` one only.
    pub train_on: TrainOn,
    /// A chat template in place of the model's own: `chatml`; `plain`, which prints what is said and nothing between, for
    /// prompts and completions as they are; or the text of a Jinja template. For base models, which bring none; evaluation
    /// has to be given the same.
    pub template: Option<String>,
}

impl Default for TokenizeParams {
    fn default() -> Self {
        Self { max_length: 2048, overlong: Overlong::Drop, train_on: TrainOn::All, template: None }
    }
}

impl TokenizeParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let named = self
            .template
            .as_deref()
            .is_none_or(|text| ["chatml", "plain"].contains(&text) || text.contains("{{") || text.contains("{%"));
        if named {
            return Vec::new();
        }
        vec![
            ParamProblem::new("template", "this is no chat template")
                .help("give `chatml`, `plain`, or the text of a Jinja template (it holds `{{ … }}` or `{% … %}`)"),
        ]
    }
}

/// What happens to a row that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlong {
    /// It is left out.
    Drop,
    /// Its end is cut.
    Truncate,
    /// The step ends.
    Error,
}

/// Which turns the model learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrainOn {
    /// Every assistant turn.
    All,
    /// The last assistant turn.
    Last,
}

impl From<TrainOn> for refit_checkpoint::conversation::TrainOn {
    fn from(train_on: TrainOn) -> Self {
        match train_on {
            TrainOn::All => Self::All,
            TrainOn::Last => Self::Last,
        }
    }
}
