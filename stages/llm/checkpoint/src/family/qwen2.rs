use super::FamilyFacts;
use crate::{CheckpointError, config::HfConfig};

pub(super) const NAME: &str = "qwen2";
pub(super) const CLASS: &str = "Qwen2ForCausalLM";

/// Rows are kept as they are.
pub(super) const GGUF_INTERLEAVES_ROTARY_ROWS: bool = false;

pub(super) fn read_hf(config: &HfConfig) -> Result<FamilyFacts, CheckpointError> {
    if config.use_sliding_window == Some(true) {
        return Err(CheckpointError::new(
            "config::unsupported",
            "`use_sliding_window: true` is not supported: attention always sees the whole text",
        ));
    }
    Ok(FamilyFacts { qkv_bias: true, default_positions: 32_768 })
}
