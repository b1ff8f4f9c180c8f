use super::{Definition, Family, GgufRows};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "llama",
    class: "LlamaForCausalLM",
    read_hf,
    read_gguf,
    // `W.reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2)` (llama.cpp, `conversion/llama.py`).
    gguf_rows: GgufRows::RotaryPairs,
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    for key in ["attention_bias", "mlp_bias"] {
        if config.flag(key)? {
            return Err(CheckpointError::new(
                "config::unsupported",
                format!("`{key}: true` is not supported for `llama` models"),
            ));
        }
    }
    config.like_llama(Family::Llama, 2048)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    config.like_llama(Family::Llama)
}
