use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufRows,
    gemma2::{like_gemma, of_gemma, scalar},
    parts::{HEAD_NORMS, in_turn},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, LayerForm, Rotary},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "gemma3_text",
    class: "Gemma3ForCausalLM",
    read_hf,
    own_keys,
    gguf: Some(GgufDefinition { name: "gemma3", read: read_gguf, rows: GgufRows::AsTheyAre }),
};

/// Every so many layers there is one that sees everything.
const INTERVAL: usize = 6;
/// Base of the frequencies in layers with a window.
const LOCAL_BASE: f64 = 10_000.0;

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    if config.flag("use_bidirectional_attention")? {
        return Err(CheckpointError::new(
            "config::unsupported",
            "`use_bidirectional_attention: true` is not supported: a token sees those before it only",
        ));
    }
    if config.has("attn_logit_softcapping") {
        return Err(CheckpointError::new(
            "config::unsupported",
            "`attn_logit_softcapping` is not supported for `gemma3_text` models, whose code does not apply it",
        ));
    }
    let mut model = like_gemma(config, Family::Gemma3, 131_072)?;
    model.norms.extend(HEAD_NORMS);
    model.logit_cap = config.number("final_logit_softcapping")?.map(|cap| cap as f32);
    let (head_dim, positions) = (model.head_dim, model.max_positions);
    // transformers 5 has one map for each kind of layer; before, the scaling was that of full layers.
    let of_kind = |kind: &str| config.map("rope_parameters").and_then(|maps| maps.get(kind)?.as_object());
    let base = |key: &str, absent: f64| Ok::<_, CheckpointError>(config.number(key)?.unwrap_or(absent));
    let full: Vec<_> = of_kind("full_attention").into_iter().chain(config.map("rope_scaling")).collect();
    let local: Vec<_> = of_kind("sliding_attention").into_iter().collect();
    let full = config.rotary_by(&full, base("rope_theta", 1_000_000.0)?, head_dim, positions)?;
    let local = config.rotary_by(&local, base("rope_local_base_freq", LOCAL_BASE)?, head_dim, positions)?;
    let window = config.number_or("sliding_window", Some(4096.0))?.map(|window| window as usize);
    let sliding = match config.sliding_layers(model.layers)? {
        Some(listed) => listed,
        None => every(config.size("sliding_window_pattern")?.unwrap_or(INTERVAL)),
    };
    Ok(with_kinds(model, &sliding, window, local, full))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    let mut model = of_gemma(config.like_llama(Family::Gemma3)?);
    model.norms.extend(HEAD_NORMS);
    model.logit_cap = config.number("final_logit_softcapping")?.map(|cap| cap as f32);
    // As in llama.cpp, the 27B, known by its layers, has another scale than its head width says.
    if model.layers == 62 {
        model.attention.scale = ((model.hidden_size / model.heads.max(1)) as f32).sqrt().recip();
    }
    let window = config.size("attention.sliding_window")?;
    let full = model.layer_forms[0].rotary.clone();
    let Some(full) = full else { return Ok(model) };
    let base = config.number("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE);
    let local = Rotary { base, scaling: None, ..full.clone() };
    Ok(with_kinds(model, &every(INTERVAL), window, local, full))
}

/// Which layers of an interval have a window: all but its last.
fn every(interval: usize) -> Vec<bool> {
    (1..=interval.max(1)).map(|layer| !layer.is_multiple_of(interval.max(1))).collect()
}

fn with_kinds(
    mut model: ModelConfig,
    sliding: &[bool],
    window: Option<usize>,
    local: Rotary,
    full: Rotary,
) -> ModelConfig {
    let local = LayerForm { rotary: Some(local), window };
    model.layer_forms = in_turn(sliding, &local, &LayerForm { rotary: Some(full), window: None });
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    let local = &model.layer_forms[0];
    json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar(model),
        "final_logit_softcapping": model.logit_cap,
        "sliding_window": local.window,
        "sliding_window_pattern": model.layer_forms.len(),
        "rope_local_base_freq": local.rotary.as_ref().map(|rotary| rotary.base),
    })
}
