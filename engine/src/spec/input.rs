use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wired to an input port: a source's name or `STAGE.PORT`; a port that takes many also takes a list of outputs.
///
/// Of a stage with a matrix, `STAGE[AXIS=VALUE,…].PORT` is one copy and `STAGE[*].PORT` all of them. In a stage with the
/// same axes, plain `STAGE.PORT` is the copy with the same values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InputSpec {
    /// One reference.
    One(String),
    /// Several, which arrive as a folder with an entry each.
    Many(Vec<String>),
}

impl InputSpec {
    /// The references in it.
    pub fn references(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}
