use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Makes copies of a stage, one for each combination of values; or names another stage, to have the same copies as that one.
///
/// The copies of `train` are called `train[rank=8,lr=1e-4]`. Inside the stage, `${matrix.rank}` in `with`, `inputs` and
/// `description` is the copy's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MatrixSpec {
    /// The stage whose copies this one follows: one copy for each of that stage's.
    Same(String),
    /// The values of each axis.
    Axes(MatrixAxes),
}

/// The axes of a matrix by name, and what is left out of and added to their combinations, as in GitHub Actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixAxes {
    /// Combinations to leave out: each item names some axes and a value of each; every combination with these values goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<Map<String, Value>>>,
    /// Values to add, after `exclude`: each item goes into every combination whose axes it does not contradict, and brings
    /// its further values along; an item that fits none becomes a combination of its own. What an item brought, a later
    /// one may replace; the value of an axis never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Vec<Map<String, Value>>>,
    /// The axes: a name, and the values it takes.
    #[serde(flatten)]
    pub axes: IndexMap<String, AxisSpec>,
}

/// The values of an axis, or a reference to a parameter that is such a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AxisSpec {
    /// The values.
    Values(Vec<Value>),
    /// `${params.NAME}`.
    Reference(String),
}
