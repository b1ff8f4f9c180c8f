use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Divides records into `train`, `validation` and `test`.
///
/// A share below 1 is a fraction of the rows (`0.1`), a whole number a count (`50`), 0 nothing. A row's part is decided
/// by a hash of its messages and the seed, never by its place in the file. What that means when rows are added later:
/// - fractions: no earlier row moves, whatever is added; the sizes are therefore right on average, not to the row;
/// - counts and `stratify_by`: each row added can push at most one row (or group) over each border between two parts,
///   with `stratify_by` only in its own stratum (counts: also where the shares of the strata shift);
/// - `group_mode: each`: rows move only in the groups that got rows.
///
/// Rows with the same messages always go to the same part (of their group).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitParams {
    /// The share for training; without it, all that the other parts leave. Rows that no part takes are counted.
    #[schemars(range(min = 0.0))]
    pub train: Option<f64>,
    /// The share for validation during training.
    #[schemars(range(min = 0.0))]
    pub validation: f64,
    /// The share for the test, which training never sees.
    #[schemars(range(min = 0.0))]
    pub test: f64,
    /// Another seed gives another split.
    pub seed: u64,
    /// A column of `meta`, such as `fact`: rows with the same value are one group.
    pub group_by: Option<String>,
    /// `together` keeps a group in one part: the test asks about things never trained. `each` divides every group: a
    /// count is that many rows **of every group** (`test: 1`: an unseen wording of every trained fact), a fraction is
    /// one of the rows that are left; the last row of a group always stays in training.
    pub group_mode: GroupMode,
    /// A column of `meta`, such as `topic`, whose values keep their proportions in every part.
    pub stratify_by: Option<String>,
    /// What is done about rows that are near-duplicates of a row in another part: `report` warns; `drop` leaves them
    /// out of training (or out of validation, when they are like a test row); `fail` ends the step.
    pub leakage: Leakage,
    /// What is compared: the `prompt`, or prompt and response as a `conversation`, both of which have to be alike.
    pub leakage_on: LeakageOn,
    /// How alike near-duplicates are at least: the Jaccard index of their shingles, as in `clean`.
    #[schemars(range(min = 0.3, max = 1.0))]
    pub similarity: f64,
}

impl Default for SplitParams {
    fn default() -> Self {
        Self {
            train: None,
            validation: 0.1,
            test: 0.1,
            seed: 0,
            group_by: None,
            group_mode: GroupMode::Together,
            stratify_by: None,
            leakage: Leakage::Report,
            leakage_on: LeakageOn::Prompt,
            similarity: 0.85,
        }
    }
}

/// How groups and parts go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupMode {
    /// A group is in one part.
    Together,
    /// Every group is in every part.
    Each,
}

/// What is done about near-duplicates between parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Leakage {
    /// A warning and a list in the report.
    Report,
    /// They are left out of the part that is worth less.
    Drop,
    /// They end the step.
    Fail,
}

/// What near-duplicates between parts are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeakageOn {
    /// The turns of the user.
    Prompt,
    /// The turns of the user and those of the assistant.
    Conversation,
}
