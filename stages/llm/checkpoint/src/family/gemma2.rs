use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufFactors, GgufRows,
    parts::{FOUR_NORMS, in_turn, interval},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{Activation, GgufConfig, HfConfig, LayerForm},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "gemma2",
    class: "Gemma2ForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition {
        name: "gemma2",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::AsTheyAre,
        factors: GgufFactors::None,
    },
};

/// Every so many layers there is one that sees everything.
const INTERVAL: usize = 2;
/// Layers of the 27B.
const LAYERS_27B: usize = 46;

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
    model.attention.scale = gguf_scale(&model, LAYERS_27B);
    let window = config.size("attention.sliding_window")?;
    let sliding = interval(config.size(PATTERN)?.unwrap_or(INTERVAL));
    Ok(with_windows(model, &sliding, window))
}

fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    let (Some(cap), Some(logit_cap)) = (config.attention.cap, config.logit_cap) else {
        return keys.need(false, "its scores or its logits are not capped");
    };
    keys.need(config.tied_head, "its head is not the embedding")?;
    write_windows(config, keys, INTERVAL, LAYERS_27B)?;
    keys.float("attn_logit_softcapping", f64::from(cap));
    keys.float("final_logit_softcapping", f64::from(logit_cap));
    Ok(())
}

/// In GGUF: the interval of layers that see everything.
pub(super) const PATTERN: &str = "attention.sliding_window_pattern";

/// GGUF does not hold `query_pre_attn_scalar`. As in llama.cpp, the 27B, known by its layers, has another one than the others.
pub(super) fn gguf_scale(model: &ModelConfig, layers_27b: usize) -> f32 {
    let scalar = if model.layers == layers_27b { model.hidden_size / model.heads.max(1) } else { model.head_dim };
    (scalar as f32).sqrt().recip()
}

/// What Gemma 2 and 3 have in common: layers with and without a window, of which llama.cpp takes every so many to be one
/// without.
pub(super) fn write_windows(
    config: &ModelConfig,
    keys: &mut GgufKeys<'_>,
    usual: usize,
    layers_27b: usize,
) -> Result<(), CheckpointError> {
    let same_scale = (config.attention.scale - gguf_scale(config, layers_27b)).abs() <= 1e-6 * config.attention.scale;
    keys.need(same_scale, "its `query_pre_attn_scalar` is not that of the published models")?;
    let windows = || config.layer_forms.iter().filter_map(|form| form.window);
    keys.need(windows().all(|window| Some(window) == windows().next()), "its layers have several windows")?;
    let fits = |every: &usize| {
        let sliding = interval(*every);
        (0..config.layers).all(|layer| config.layer_form(layer).window.is_some() == sliding[layer % *every])
    };
    let Some(every) = std::iter::once(usual).chain(1..=config.layers + 1).find(fits) else {
        return keys.need(false, "its layers without a window come at no regular interval");
    };
    keys.like_llama(config)?;
    if let Some(window) = windows().next() {
        keys.count("attention.sliding_window", window);
    }
    if every != usual {
        keys.count(PATTERN, every);
    }
    Ok(())
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
