use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What stages get unless they say otherwise: parameters by stage kind, and settings of every stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultsSpec {
    /// Settings of every stage that does not have them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Map<String, Value>>,
    /// By stage kind, values for parameters that a stage of this kind does not set in its `with`. A parameter is taken as a
    /// whole: a map in a stage replaces the default map.
    #[serde(flatten)]
    pub kinds: IndexMap<String, Option<Map<String, Value>>>,
}
