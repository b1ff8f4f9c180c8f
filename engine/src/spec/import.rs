use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::InputSpec;

/// The stages of another pipeline file, under a name of their own: the stage `score` of the import `eval` is `eval/score`.
///
/// Its `outputs` do not count, and its `defaults` hold for its own stages only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportSpec {
    /// The file, or a folder that holds `pipeline.yaml`. The path starts at the folder of the file it is written in.
    #[schemars(length(min = 1))]
    pub from: String,
    /// Values for that file's `params`, in place of its own. They may hold `${params.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// What stands in for that file's `sources`: a source's name or `STAGE.PORT`, as for a stage's input. The others come
    /// from where that file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<IndexMap<String, InputSpec>>,
}
