use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufRows,
    parts::{fused_gate_up, fused_qkv},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, RopeScaling},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "phi3",
    class: "Phi3ForCausalLM",
    read_hf,
    own_keys,
    gguf: Some(GgufDefinition { name: "phi3", read: read_gguf, rows: GgufRows::AsTheyAre }),
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

fn fused(mut model: ModelConfig) -> ModelConfig {
    fused_qkv(&mut model, "self_attn.qkv_proj");
    fused_gate_up(&mut model, "mlp.gate_up_proj");
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    let form = &model.layer_forms[0];
    let original = form.rotary.as_ref().and_then(|rotary| match &rotary.scaling {
        Some(RopeScaling::LongRope { original_max_positions, .. }) => Some(*original_max_positions),
        _ => None,
    });
    json!({
        "sliding_window": form.window,
        "original_max_position_embeddings": original.unwrap_or(model.max_positions),
    })
}
