use std::path::Path;

use refit_checkpoint::ModelConfig;
use serde_json::{Map, Value};

use super::{Adapter, AdapterTemplate, CONFIG_FILE, load, peft::is_bottleneck};
use crate::{
    LlmError,
    bottleneck::{self, BottleneckAdapter},
    train::Trainable,
};

/// An adapter of any method.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyAdapter {
    /// LoRA or `DoRA`, as PEFT writes it.
    Lora(Adapter),
    /// A bottleneck adapter, as the `adapters` library writes it.
    Bottleneck(BottleneckAdapter),
}

impl AnyAdapter {
    /// Reads an adapter for a model; which method it is of is seen by its `adapter_config.json`.
    ///
    /// # Errors
    /// Those of [`load`] and [`bottleneck::load`].
    pub fn load(folder: &Path, model: &ModelConfig) -> Result<Self, LlmError> {
        let config: Result<Map<String, Value>, _> =
            serde_json::from_str(&fs_err::read_to_string(folder.join(CONFIG_FILE))?);
        if config.is_ok_and(|config| is_bottleneck(&config)) {
            return Ok(Self::Bottleneck(bottleneck::load(folder, model)?));
        }
        Ok(Self::Lora(load(folder, model)?))
    }

    /// The chat template it was trained with, if known.
    pub fn template(&self) -> Option<&AdapterTemplate> {
        match self {
            Self::Lora(adapter) => adapter.template.as_ref(),
            Self::Bottleneck(adapter) => adapter.template.as_ref(),
        }
    }

    /// What a model computes with it.
    pub fn values(&self) -> &dyn Trainable {
        match self {
            Self::Lora(adapter) => adapter,
            Self::Bottleneck(adapter) => adapter,
        }
    }
}
