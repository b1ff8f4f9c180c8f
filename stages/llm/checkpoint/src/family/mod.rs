//! The architectures, one file each: how the configuration and the tensor names of a family map.
//!
//! A family is added by its file, which reads configurations into the one description that everything is computed from
//! ([`ModelConfig`]), and its line in the list below.

mod baichuan;
mod chatglm;
mod gemma2;
mod gemma3;
mod glm;
mod glm4;
mod llama;
mod mistral;
mod parts;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;
mod tensors;

use std::fmt;

use serde_json::{Value, json};

pub(crate) use parts::{SEPARATE_LINEARS, TWO_NORMS};
pub(crate) use tensors::{GgufPart, expected_tensors, gguf_parts, is_norm};

use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
    write::GgufKeys,
};

/// What a family's file says.
pub(crate) struct Definition {
    /// `model_type` in `config.json`.
    name: &'static str,
    /// transformers' class, by which a configuration without `model_type` is known.
    class: &'static str,
    /// Reads `config.json`, and refuses what is not supported.
    read_hf: fn(&HfConfig) -> Result<ModelConfig, CheckpointError>,
    /// What `config.json` says of a model beside what [`HfConfig::like_llama`] reads of it.
    own_keys: fn(&ModelConfig) -> Value,
    /// GGUF files of the family.
    gguf: GgufDefinition,
}

/// What a family's file says of GGUF.
pub(crate) struct GgufDefinition {
    /// `general.architecture`; of several families that have one in common, the first in the list reads its files.
    name: &'static str,
    /// Reads the metadata.
    read: fn(&GgufConfig<'_>) -> Result<ModelConfig, CheckpointError>,
    /// Writes the metadata, and refuses a model that llama.cpp would compute otherwise.
    write: fn(&ModelConfig, &mut GgufKeys<'_>) -> Result<(), CheckpointError>,
    /// How the rows of q and k lie.
    rows: GgufRows,
    /// Which divisors of rotary frequencies llama.cpp takes from tensors for this architecture.
    factors: GgufFactors,
}

/// How the rows of q and k lie in GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufRows {
    /// As in Hugging Face's files.
    AsTheyAre,
    /// Rows that turn together are neighbours, because llama.cpp turns neighbouring pairs for this architecture.
    RotaryPairs,
    /// The same, and what the model has in one layer (q, k and v) are tensors of their own.
    RotaryPairsApart,
}

/// Divisors of rotary frequencies that stand in tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufFactors {
    /// None are read.
    None,
    /// `rope_freqs.weight`: Llama 3's rule.
    Frequencies,
    /// `rope_factors_short.weight` and `rope_factors_long.weight`: Phi-3's.
    LongRope,
}

macro_rules! families {
    ($($(#[doc = $doc:literal])+ $variant:ident => $file:ident,)+) => {
        /// An architecture.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Family {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Family {
            /// Every family there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            fn definition(self) -> &'static Definition {
                match self {
                    $(Self::$variant => &$file::DEFINITION,)+
                }
            }
        }
    };
}

families! {
    /// Llama and what is built like it (`SmolLM2`, `TinyLlama`, Yi …).
    Llama => llama,
    /// Mistral: Llama, some with a sliding window.
    Mistral => mistral,
    /// `SmolLM3`: Llama with some layers that know no positions.
    SmolLm3 => smollm3,
    /// Qwen2 and Qwen2.5: Llama with a bias on q, k and v.
    Qwen2 => qwen2,
    /// Qwen3: Llama with norms on queries and keys.
    Qwen3 => qwen3,
    /// Phi-3, Phi-3.5 and Phi-4: Llama with fused projections and positions stretched by `longrope`.
    Phi3 => phi3,
    /// Gemma 2.
    Gemma2 => gemma2,
    /// Gemma 3, the models for text alone.
    Gemma3 => gemma3,
    /// Baichuan and Baichuan 2: 7B turns by positions, 13B takes distances off the scores.
    Baichuan => baichuan,
    /// `ChatGLM2`, `ChatGLM3` and GLM-4 in the layout of their own code.
    ChatGlm => chatglm,
    /// GLM-4 in the layout of transformers.
    Glm => glm,
    /// GLM-4 of April 2025.
    Glm4 => glm4,
}

impl Family {
    /// The name in `config.json` (`model_type`).
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// The class in `config.json` (`architectures`).
    pub fn class(self) -> &'static str {
        self.definition().class
    }

    /// The keys of `config.json` that only this family has, for a model that came in a GGUF file.
    pub(crate) fn own_keys(self, config: &ModelConfig) -> Value {
        (self.definition().own_keys)(config)
    }

    pub(crate) fn from_model_type(name: Option<&str>, classes: &[&str]) -> Result<Self, CheckpointError> {
        let found = match name {
            Some(name) => Self::find(|family| family.name == name),
            None => Self::find(|family| classes.contains(&family.class)),
        };
        found.ok_or_else(|| unsupported(name.or(classes.first().copied())))
    }

    /// Reads the metadata of a GGUF file of some architecture.
    pub(crate) fn read_gguf(architecture: &str, config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
        let found = Self::find(|family| family.gguf.name == architecture);
        (found.ok_or_else(|| unsupported(Some(architecture)))?.definition().gguf.read)(config)
    }

    fn find(wanted: impl Fn(&Definition) -> bool) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| wanted(family.definition()))
    }

    pub(crate) fn read_hf(self, config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
        (self.definition().read_hf)(config)
    }

    /// Writes the metadata of a GGUF file, tokenizer apart.
    pub(crate) fn write_gguf(self, config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
        (self.definition().gguf.write)(config, keys)
    }

    /// `general.architecture` of its GGUF files.
    pub(crate) fn gguf_architecture(self) -> &'static str {
        self.definition().gguf.name
    }

    pub(crate) fn gguf_rows(self) -> GgufRows {
        self.definition().gguf.rows
    }

    pub(crate) fn gguf_factors(self) -> GgufFactors {
        self.definition().gguf.factors
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The keys of a family that has none of its own.
fn no_own_keys(_: &ModelConfig) -> Value {
    json!({})
}

fn unsupported(name: Option<&str>) -> CheckpointError {
    let names: Vec<String> = Family::ALL.iter().map(|family| format!("`{family}`")).collect();
    let supported = names.join(", ");
    if name == Some("gemma3") {
        return CheckpointError::new("config::unsupported_architecture", "models of text and images are not supported")
            .with_help("Gemma 3's models for text alone have the model_type `gemma3_text`: 270M and 1B");
    }
    let message = match name {
        Some(name) => format!("the architecture `{name}` is not supported"),
        None => "the model does not say which architecture it is".to_owned(),
    };
    CheckpointError::new("config::unsupported_architecture", message).with_help(format!("supported are {supported}"))
}
