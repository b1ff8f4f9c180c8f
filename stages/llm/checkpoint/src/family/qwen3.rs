use super::{
    Definition, Family, GgufDefinition, GgufFactors, GgufRows, no_own_keys,
    parts::HEAD_NORMS,
    qwen2::{with_windows, write_gguf},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    read_hf,
    own_keys: no_own_keys,
    gguf: GgufDefinition {
        name: "qwen3",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::AsTheyAre,
        factors: GgufFactors::None,
    },
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    with_windows(with_head_norms(config.like_llama(Family::Qwen3, 32_768)?), config)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(with_head_norms(config.like_llama(Family::Qwen3)?))
}

fn with_head_norms(mut model: ModelConfig) -> ModelConfig {
    model.norms.extend(HEAD_NORMS);
    model
}
