use serde_json::{Value, json};

use super::{Definition, Family, llama};
use crate::{CheckpointError, ModelConfig, config::HfConfig};

/// llama.cpp keeps these models as `llama`.
pub(super) const DEFINITION: Definition =
    Definition { name: "mistral", class: "MistralForCausalLM", read_hf, own_keys, gguf: llama::GGUF };

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    let mut model = config.like_llama(Family::Mistral, 131_072)?;
    model.layer_forms[0].window = config.number_or("sliding_window", Some(4096.0))?.map(|window| window as usize);
    Ok(model)
}

fn own_keys(model: &ModelConfig) -> Value {
    json!({ "sliding_window": model.layer_forms[0].window })
}
