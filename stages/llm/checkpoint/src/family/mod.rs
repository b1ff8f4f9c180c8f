//! The architectures, one file each: how the configuration and the tensor names of a family map.

mod llama;
mod names;
mod qwen2;

use std::fmt;

pub(crate) use names::{expected_tensors, gguf_name};

use crate::{CheckpointError, config::HfConfig};

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama and what is built like it (`SmolLM2`, `TinyLlama`, Yi …).
    Llama,
    /// Qwen2 and Qwen2.5: Llama with a bias on q, k and v.
    Qwen2,
}

/// What the family itself says about a model.
pub(crate) struct FamilyFacts {
    /// Whether q, k and v have a bias.
    pub(crate) qkv_bias: bool,
    /// `max_position_embeddings` where `config.json` is silent.
    pub(crate) default_positions: usize,
}

impl Family {
    /// Every family there is.
    pub const ALL: [Self; 2] = [Self::Llama, Self::Qwen2];

    /// The name in `config.json` (`model_type`) and in GGUF (`general.architecture`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => llama::NAME,
            Self::Qwen2 => qwen2::NAME,
        }
    }

    /// The class in `config.json` (`architectures`).
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Llama => llama::CLASS,
            Self::Qwen2 => qwen2::CLASS,
        }
    }

    pub(crate) fn from_model_type(name: Option<&str>, architectures: &[String]) -> Result<Self, CheckpointError> {
        let found = match name {
            Some(name) => Self::ALL.into_iter().find(|family| family.name() == name),
            None => Self::ALL
                .into_iter()
                .find(|family| architectures.iter().any(|architecture| architecture == family.class())),
        };
        found.ok_or_else(|| unsupported(name.or(architectures.first().map(String::as_str))))
    }

    pub(crate) fn from_gguf(architecture: &str) -> Result<Self, CheckpointError> {
        Self::ALL
            .into_iter()
            .find(|family| family.name() == architecture)
            .ok_or_else(|| unsupported(Some(architecture)))
    }

    /// Reads what only this family has in `config.json`, and refuses what is not supported.
    pub(crate) fn read_hf(self, config: &HfConfig) -> Result<FamilyFacts, CheckpointError> {
        match self {
            Self::Llama => llama::read_hf(config),
            Self::Qwen2 => qwen2::read_hf(config),
        }
    }

    /// Whether GGUF keeps the rows of q and k interleaved.
    pub(crate) fn gguf_interleaves_rotary_rows(self) -> bool {
        match self {
            Self::Llama => llama::GGUF_INTERLEAVES_ROTARY_ROWS,
            Self::Qwen2 => qwen2::GGUF_INTERLEAVES_ROTARY_ROWS,
        }
    }

    /// Whether q, k and v of a GGUF file of this family have a bias.
    pub(crate) fn gguf_qkv_bias(self) -> bool {
        match self {
            Self::Llama => false,
            Self::Qwen2 => true,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn unsupported(name: Option<&str>) -> CheckpointError {
    let supported = Family::ALL.map(|family| format!("`{family}`")).join(" and ");
    let message = match name {
        Some(name) => format!("the architecture `{name}` is not supported"),
        None => "the model does not say which architecture it is".to_owned(),
    };
    CheckpointError::new("config::unsupported_architecture", message)
        .with_help(format!("supported are {supported}: SmolLM2, TinyLlama, Llama 2 and 3, Yi, Qwen2, Qwen2.5 …"))
}
