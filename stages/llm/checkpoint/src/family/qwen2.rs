use super::{Definition, Family, GgufRows, with_attention_bias};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
};

pub(super) const DEFINITION: Definition =
    Definition { name: "qwen2", class: "Qwen2ForCausalLM", read_hf, read_gguf, gguf_rows: GgufRows::AsTheyAre };

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    if config.flag("use_sliding_window")? {
        return Err(CheckpointError::new(
            "config::unsupported",
            "`use_sliding_window: true` is not supported: attention always sees the whole text",
        ));
    }
    Ok(with_attention_bias(config.like_llama(Family::Qwen2, 32_768)?))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(with_attention_bias(config.like_llama(Family::Qwen2)?))
}
