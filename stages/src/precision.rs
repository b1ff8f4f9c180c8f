//! How exactly a model's weights are kept.

use refit_engine::stage::StepContext;
use refit_llm::train::ComputePath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How exactly weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 binary digits.
    F32,
    /// 8 binary digits.
    Bf16,
}

impl From<Precision> for refit_llm::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// What becomes of quantised weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// They stay in their blocks.
    #[default]
    Keep,
    /// They become floats.
    Unpack,
    /// They stay, and others are brought into NF4.
    Nf4,
}

impl From<Quantization> for refit_llm::model::Quantization {
    fn from(quantization: Quantization) -> Self {
        match quantization {
            Quantization::Keep => Self::Keep,
            Quantization::Unpack => Self::Unpack,
            Quantization::Nf4 => Self::Nf4,
        }
    }
}

/// Says where bf16 costs exactness and brings no speed.
pub(crate) fn warn_of_no_gain(precision: refit_llm::Precision, path: &ComputePath, step: &StepContext) {
    use refit_llm::Precision::{Bf16, F32};
    match (precision, path) {
        (F32, _) | (Bf16, ComputePath::Fused { gains_by_bf16: true, .. }) => {}
        (Bf16, ComputePath::Fused { instructions, .. }) => step.warn(format!(
            "`precision: bf16` saves no time here, and memory only where weights are floats: the processor's {instructions} has no products of bf16 that are faster, so rounded numbers are multiplied as f32"
        )),
        (Bf16, ComputePath::Composed { keeps_halves: true, .. }) => step.warn(
            "`precision: bf16` saves memory and no time here: weights are rounded and kept as f16, and multiplied as f32",
        ),
        (Bf16, ComputePath::Composed { .. }) => {
            step.warn(
                "`precision: bf16` is not faster here: weights that are floats are rounded, and all are multiplied as f32",
            );
        }
    }
}
