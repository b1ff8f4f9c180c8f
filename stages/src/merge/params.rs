use refit_checkpoint::FloatType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a LoRA adapter to the weights it was trained on: W + s·B·A. The result is read back and has to answer some questions
/// as base and adapter did; otherwise the stage fails and says by how much it differs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MergeParams {
    /// How the weights are stored. Left out: as the base has them, and `f32` for a base that is quantised. In `bf16` a small
    /// update is partly lost by rounding.
    #[serde(rename = "type")]
    pub float: Option<FloatName>,
    /// Merges into a base that is quantised by making floats of it: the result is several times as large as the base, and no
    /// longer what the adapter was trained on once it is quantised again. Without this, such a base is refused.
    pub dequantize: bool,
}

/// A type of plain floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FloatName {
    /// 24 binary digits.
    F32,
    /// 11 binary digits, up to 65504.
    F16,
    /// 8 binary digits.
    Bf16,
}

impl From<FloatName> for FloatType {
    fn from(name: FloatName) -> Self {
        match name {
            FloatName::F32 => Self::F32,
            FloatName::F16 => Self::F16,
            FloatName::Bf16 => Self::Bf16,
        }
    }
}
