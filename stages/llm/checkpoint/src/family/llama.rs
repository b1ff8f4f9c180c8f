use super::{Definition, Family, GgufDefinition, GgufRows, no_own_keys};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "llama",
    class: "LlamaForCausalLM",
    read_hf,
    own_keys: no_own_keys,
    gguf: Some(GgufDefinition {
        name: "llama",
        read: read_gguf,
        // `W.reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2)` (llama.cpp, `conversion/llama.py`).
        rows: GgufRows::RotaryPairs,
    }),
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    config.like_llama(Family::Llama, 2048)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    config.like_llama(Family::Llama)
}
