use super::FamilyFacts;
use crate::{CheckpointError, config::HfConfig};

pub(super) const NAME: &str = "llama";
pub(super) const CLASS: &str = "LlamaForCausalLM";

/// llama.cpp rotates neighbouring pairs for this architecture, so its converter reorders the rows of q and k:
/// `W.reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2)` (`conversion/llama.py`).
pub(super) const GGUF_INTERLEAVES_ROTARY_ROWS: bool = true;

pub(super) fn read_hf(config: &HfConfig) -> Result<FamilyFacts, CheckpointError> {
    for (key, value) in [("attention_bias", config.attention_bias), ("mlp_bias", config.mlp_bias)] {
        if value == Some(true) {
            return Err(CheckpointError::new(
                "config::unsupported",
                format!("`{key}: true` is not supported for `{NAME}` models"),
            ));
        }
    }
    Ok(FamilyFacts { qkv_bias: false, default_positions: 2048 })
}
