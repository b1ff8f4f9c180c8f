use super::{Definition, Family, GgufDefinition, GgufFactors, GgufRows, no_own_keys};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition =
    Definition { name: "llama", class: "LlamaForCausalLM", read_hf, own_keys: no_own_keys, gguf: GGUF };

/// Mistral's files are the same.
pub(super) const GGUF: GgufDefinition = GgufDefinition {
    name: "llama",
    read: read_gguf,
    write: write_gguf,
    // `W.reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2)` (llama.cpp, `conversion/llama.py`).
    rows: GgufRows::RotaryPairs,
    factors: GgufFactors::Frequencies,
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    config.like_llama(Family::Llama, 2048)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    config.like_llama(Family::Llama)
}

fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.whole_heads_turn(config)?;
    keys.like_llama(config)?;
    keys.within_windows(config);
    Ok(())
}
