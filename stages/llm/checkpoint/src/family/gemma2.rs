use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufRows,
    parts::{FOUR_NORMS, in_turn},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{Activation, GgufConfig, HfConfig, LayerForm},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "gemma2",
    class: "Gemma2ForCausalLM",
    read_hf,
    own_keys,
    gguf: Some(GgufDefinition { name: "gemma2", read: read_gguf, rows: GgufRows::AsTheyAre }),
};

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    let mut model = like_gemma(config, Family::Gemma2, 8192)?;
    let cap = |key: &str, absent: f64| config.number_or(key, Some(absent)).map(|cap| cap.map(|cap| cap as f32));
    model.attention.cap = cap("attn_logit_softcapping", 50.0)?;
    model.logit_cap = cap("final_logit_softcapping", 30.0)?;
    let window = config.number_or("sliding_window", Some(4096.0))?.map(|window| window as usize);
    let sliding = config.sliding_layers(model.layers)?.unwrap_or_else(|| vec![true, false]);
    Ok(with_windows(model, &sliding, window))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    let mut model = of_gemma(config.like_llama(Family::Gemma2)?);
    model.attention.cap = config.number("attn_logit_softcapping")?.map(|cap| cap as f32);
    model.logit_cap = config.number("final_logit_softcapping")?.map(|cap| cap as f32);
    // GGUF does not hold `query_pre_attn_scalar`. As in llama.cpp, the 27B, known by its layers, has another one.
    if model.layers == 46 {
        model.attention.scale = ((model.hidden_size / model.heads.max(1)) as f32).sqrt().recip();
    }
    let window = config.size("attention.sliding_window")?;
    Ok(with_windows(model, &[true, false], window))
}

/// What Gemma 2 and 3 have in common.
pub(super) fn like_gemma(config: &HfConfig, family: Family, positions: usize) -> Result<ModelConfig, CheckpointError> {
    let mut model = of_gemma(config.like_llama(family, positions)?);
    model.activation = config.activation(&["hidden_activation", "hidden_act"])?;
    if !config.has("hidden_activation") && !config.has("hidden_act") {
        model.activation = Activation::GeluTanh;
    }
    model.attention.scale = (config.number("query_pre_attn_scalar")?.unwrap_or(256.0) as f32).sqrt().recip();
    if !config.has("tie_word_embeddings") {
        model.tied_head = true;
    }
    Ok(model)
}

/// The same, of what no configuration names.
pub(super) fn of_gemma(mut model: ModelConfig) -> ModelConfig {
    model.norms = FOUR_NORMS.to_vec();
    model.norm_offset = 1.0;
    model.embedding_scale = Some((model.hidden_size as f32).sqrt());
    model.activation = Activation::GeluTanh;
    model
}

fn with_windows(mut model: ModelConfig, sliding: &[bool], window: Option<usize>) -> ModelConfig {
    let full = model.layer_forms.remove(0);
    model.layer_forms = in_turn(sliding, &LayerForm { window, ..full.clone() }, &full);
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar(model),
        "attn_logit_softcapping": model.attention.cap,
        "final_logit_softcapping": model.logit_cap,
        "sliding_window": model.layer_forms[0].window,
    })
}

/// `query_pre_attn_scalar`: what the scale is one over the root of.
pub(super) fn scalar(model: &ModelConfig) -> f32 {
    model.attention.scale.powi(-2).round()
}
