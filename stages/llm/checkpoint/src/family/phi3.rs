use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufFactors, GgufRows,
    parts::{fused_gate_up, fused_qkv},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, RopeScaling},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "phi3",
    class: "Phi3ForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition {
        name: "phi3",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::AsTheyAre,
        factors: GgufFactors::LongRope,
    },
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    let mut model = fused(config.like_llama(Family::Phi3, 4096)?);
    model.layer_forms[0].window = config.size("sliding_window")?;
    Ok(model)
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    let mut model = fused(config.like_llama(Family::Phi3)?);
    model.layer_forms[0].window = config.size("attention.sliding_window")?.filter(|window| *window > 0);
    Ok(model)
}

/// llama.cpp reads the window and warns that it does not apply it.
fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.heads_fill_width(config)?;
    keys.like_llama(config)?;
    keys.within_windows(config);
    keys.count("attention.sliding_window", config.layer_forms[0].window.unwrap_or(0));
    keys.count("rope.scaling.original_context_length", original_positions(config));
    Ok(())
}

fn fused(mut model: ModelConfig) -> ModelConfig {
    fused_qkv(&mut model, "self_attn.qkv_proj");
    fused_gate_up(&mut model, "mlp.gate_up_proj");
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    json!({
        "sliding_window": model.layer_forms[0].window,
        "original_max_position_embeddings": original_positions(model),
    })
}

/// Positions before stretching.
fn original_positions(model: &ModelConfig) -> usize {
    match model.layer_forms[0].rotary.as_ref().and_then(|rotary| rotary.scaling.as_ref()) {
        Some(RopeScaling::LongRope { original_max_positions, .. }) => *original_max_positions,
        _ => model.max_positions,
    }
}
