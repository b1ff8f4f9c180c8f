//! The architectures, one file each: how the configuration and the tensor names of a family map.
//!
//! A family is added by its file, which reads configurations into the one description that everything is computed from
//! ([`ModelConfig`]), and its line in the list below.

mod llama;
mod parts;
mod qwen2;
mod tensors;

use std::fmt;

use parts::with_attention_bias;
pub(crate) use parts::{SEPARATE_LINEARS, TWO_NORMS};
pub(crate) use tensors::{expected_tensors, gguf_name};

use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
};

/// What a family's file says.
pub(crate) struct Definition {
    /// `model_type` in `config.json`, `general.architecture` in GGUF.
    name: &'static str,
    /// transformers' class, by which a configuration without `model_type` is known.
    class: &'static str,
    /// Reads `config.json`, and refuses what is not supported.
    read_hf: fn(&HfConfig) -> Result<ModelConfig, CheckpointError>,
    /// Reads the metadata of a GGUF file.
    read_gguf: fn(&GgufConfig<'_>) -> Result<ModelConfig, CheckpointError>,
    gguf_rows: GgufRows,
}

/// How the rows of q and k lie in GGUF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GgufRows {
    /// As in Hugging Face's files.
    AsTheyAre,
    /// Rows that turn together are neighbours, because llama.cpp turns neighbouring pairs for this architecture.
    RotaryPairs,
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
    /// Qwen2 and Qwen2.5: Llama with a bias on q, k and v.
    Qwen2 => qwen2,
}

impl Family {
    /// The name in `config.json` (`model_type`) and in GGUF (`general.architecture`).
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// The class in `config.json` (`architectures`).
    pub(crate) fn class(self) -> &'static str {
        self.definition().class
    }

    pub(crate) fn from_model_type(name: Option<&str>, classes: &[&str]) -> Result<Self, CheckpointError> {
        let found = match name {
            Some(name) => Self::find(|family| family.name == name),
            None => Self::find(|family| classes.contains(&family.class)),
        };
        found.ok_or_else(|| unsupported(name.or(classes.first().copied())))
    }

    pub(crate) fn from_gguf(architecture: &str) -> Result<Self, CheckpointError> {
        Self::find(|family| family.name == architecture).ok_or_else(|| unsupported(Some(architecture)))
    }

    fn find(wanted: impl Fn(&Definition) -> bool) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| wanted(family.definition()))
    }

    pub(crate) fn read_hf(self, config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
        (self.definition().read_hf)(config)
    }

    pub(crate) fn read_gguf(self, config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
        (self.definition().read_gguf)(config)
    }

    pub(crate) fn gguf_rows(self) -> GgufRows {
        self.definition().gguf_rows
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn unsupported(name: Option<&str>) -> CheckpointError {
    let names: Vec<String> = Family::ALL.iter().map(|family| format!("`{family}`")).collect();
    let supported = names.join(" and ");
    let message = match name {
        Some(name) => format!("the architecture `{name}` is not supported"),
        None => "the model does not say which architecture it is".to_owned(),
    };
    CheckpointError::new("config::unsupported_architecture", message)
        .with_help(format!("supported are {supported}: SmolLM2, TinyLlama, Llama 2 and 3, Yi, Qwen2, Qwen2.5 …"))
}
