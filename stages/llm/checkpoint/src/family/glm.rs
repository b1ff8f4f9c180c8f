use serde_json::{Value, json};

use super::{Definition, Family, GgufDefinition, GgufFactors, GgufRows, chatglm, parts::fused_gate_up};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, RotaryPairs},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition =
    Definition { name: "glm", class: "GlmForCausalLM", read_hf, own_keys, gguf: GGUF };

/// llama.cpp has one architecture for both layouts of GLM-4; `chatglm`'s file tells them apart.
pub(super) const GGUF: GgufDefinition = GgufDefinition {
    name: "chatglm",
    read: chatglm::read_gguf,
    write: write_gguf,
    rows: GgufRows::AsTheyAre,
    factors: GgufFactors::None,
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    like_glm(config, Family::Glm)
}

pub(super) fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(of_glm(config.like_llama(Family::Glm)?))
}

pub(super) fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.like_llama(config)
}

/// What transformers' two GLM families have in common.
pub(super) fn like_glm(config: &HfConfig, family: Family) -> Result<ModelConfig, CheckpointError> {
    let mut model = config.like_llama(family, 131_072)?;
    // The output of the attention never has a bias, and the others do unless that is switched off.
    let biased = !config.has("attention_bias") || config.flag("attention_bias")?;
    for linear in &mut model.linears {
        linear.bias = biased && linear.module.is_attention_input();
    }
    // Half of a head turns where neither place says how much.
    let said = config.has("partial_rotary_factor")
        || config.map("rope_parameters").is_some_and(|map| map.contains_key("partial_rotary_factor"));
    if let Some(rotary) = model.layer_forms[0].rotary.as_mut().filter(|_| !said) {
        rotary.width = model.head_dim / 2;
    }
    Ok(of_glm(model))
}

/// The same, of what no configuration names.
pub(super) fn of_glm(mut model: ModelConfig) -> ModelConfig {
    fused_gate_up(&mut model, "mlp.gate_up_proj");
    if let Some(rotary) = &mut model.layer_forms[0].rotary {
        rotary.pairs = RotaryPairs::Neighbours;
    }
    model
}

pub(super) fn own_keys(model: &ModelConfig) -> Value {
    let turned = model.layer_forms[0].rotary.as_ref().map_or(0, |rotary| rotary.width);
    json!({
        "attention_bias": model.linears.iter().any(|linear| linear.bias),
        "partial_rotary_factor": turned as f64 / model.head_dim as f64,
    })
}
