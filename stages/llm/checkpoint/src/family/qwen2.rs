use super::{Definition, Family, GgufDefinition, GgufFactors, GgufRows, no_own_keys, parts::in_turn};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, LayerForm},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    read_hf,
    own_keys: no_own_keys,
    gguf: GgufDefinition {
        name: "qwen2",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::AsTheyAre,
        factors: GgufFactors::None,
    },
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    with_windows(with_bias(config.like_llama(Family::Qwen2, 32_768)?), config)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(with_bias(config.like_llama(Family::Qwen2)?))
}

/// llama.cpp has no windows for Qwen2 and Qwen3.
pub(super) fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.whole_heads_turn(config)?;
    keys.like_llama(config)?;
    keys.within_windows(config);
    Ok(())
}

fn with_bias(mut model: ModelConfig) -> ModelConfig {
    for linear in &mut model.linears {
        linear.bias |= linear.module.is_attention_input();
    }
    model
}

/// The upper layers attend within a window, if that is switched on.
pub(super) fn with_windows(mut model: ModelConfig, config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    if !config.flag("use_sliding_window")? {
        return Ok(model);
    }
    let below = config.size("max_window_layers")?.unwrap_or(28);
    let sliding = match config.sliding_layers(model.layers)? {
        Some(listed) => listed,
        None if below >= model.layers => vec![false],
        None => (0..model.layers).map(|layer| layer >= below).collect(),
    };
    let full = model.layer_forms.remove(0);
    let window = config.number_or("sliding_window", Some(4096.0))?.map(|window| window as usize);
    model.layer_forms = in_turn(&sliding, &LayerForm { window, ..full.clone() }, &full);
    Ok(model)
}
