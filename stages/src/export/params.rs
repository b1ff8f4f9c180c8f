use refit_checkpoint::{FloatType, GgufType};
use refit_engine::stage::ParamProblem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes a model, or an adapter, in the form another tool loads. What was written is read back: a model has to answer some
/// questions as the one it was made of, an adapter has to hold the same numbers; otherwise the stage fails and says what
/// differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportParams {
    /// For whom: `huggingface` (a folder for transformers, vLLM and others), `gguf` (one file for llama.cpp and Ollama),
    /// `gguf-lora` (an adapter for llama.cpp, beside its base), `mlx` (an adapter for mlx-lm, beside its base).
    pub format: Format,
    /// How numbers are stored: `f32`, `f16`, `bf16`, and for `gguf` also `q8_0` and `q4_0`, which keeps embedding and head in
    /// `q8_0`. Left out: as the model has them, and `f32` for a model that is quantised and for adapters.
    #[serde(rename = "type", default)]
    pub number: Option<NumberName>,
    /// Adds an adapter to a base that is quantised by making floats of it first. Without this, that is refused.
    #[serde(default)]
    pub dequantize: bool,
}

/// For whom something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A model folder as transformers writes it.
    HuggingFace,
    /// A model file of llama.cpp.
    Gguf,
    /// An adapter file of llama.cpp.
    #[serde(rename = "gguf-lora")]
    GgufLora,
    /// An adapter folder of mlx-lm.
    Mlx,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberName {
    /// 24 binary digits.
    F32,
    /// 11 binary digits, up to 65504.
    F16,
    /// 8 binary digits.
    Bf16,
    /// Blocks with eight bits a number.
    #[serde(rename = "q8_0")]
    Q8,
    /// Blocks with four bits a number.
    #[serde(rename = "q4_0")]
    Q4,
}

impl NumberName {
    pub(super) fn float(self) -> Option<FloatType> {
        match self {
            Self::F32 => Some(FloatType::F32),
            Self::F16 => Some(FloatType::F16),
            Self::Bf16 => Some(FloatType::Bf16),
            Self::Q8 | Self::Q4 => None,
        }
    }

    pub(super) fn gguf(self) -> GgufType {
        match self {
            Self::Q8 => GgufType::Q8_0,
            Self::Q4 => GgufType::Q4_0,
            Self::F32 => GgufType::Float(FloatType::F32),
            Self::F16 => GgufType::Float(FloatType::F16),
            Self::Bf16 => GgufType::Float(FloatType::Bf16),
        }
    }
}

impl ExportParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let in_blocks = self.number.is_some_and(|number| number.float().is_none());
        if in_blocks && self.format != Format::Gguf {
            return vec![
                ParamProblem::new("type", "blocks are a form of `gguf` models alone")
                    .help("take `f32`, `f16` or `bf16`, or `format: gguf`"),
            ];
        }
        Vec::new()
    }

    /// How plain floats are stored, where the model's are `otherwise`.
    pub(super) fn float_or(&self, otherwise: FloatType) -> FloatType {
        self.number.and_then(NumberName::float).unwrap_or(otherwise)
    }
}
