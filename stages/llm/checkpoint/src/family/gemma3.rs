use serde_json::{Value, json};

use super::{
    Definition, Family, GgufDefinition, GgufFactors, GgufRows,
    gemma2::{PATTERN, gguf_scale, like_gemma, of_gemma, scalar, write_windows},
    parts::{HEAD_NORMS, in_turn, interval},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, LayerForm, Rotary},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "gemma3_text",
    class: "Gemma3ForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition {
        name: "gemma3",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::AsTheyAre,
        factors: GgufFactors::None,
    },
};

/// Every so many layers there is one that sees everything.
const INTERVAL: usize = 6;
/// Base of the frequencies in layers with a window.
const LOCAL_BASE: f64 = 10_000.0;
/// Layers of the 27B.
const LAYERS_27B: usize = 62;

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
        None => interval(config.size("sliding_window_pattern")?.unwrap_or(INTERVAL)),
    };
    Ok(with_kinds(model, &sliding, window, local, full))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    let mut model = of_gemma(config.like_llama(Family::Gemma3)?);
    model.norms.extend(HEAD_NORMS);
    model.logit_cap = config.number("final_logit_softcapping")?.map(|cap| cap as f32);
    model.attention.scale = gguf_scale(&model, LAYERS_27B);
    let window = config.size("attention.sliding_window")?;
    let full = model.layer_forms[0].rotary.clone();
    let Some(full) = full else { return Ok(model) };
    let base = config.number("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE);
    let local = Rotary { base, scaling: None, ..full.clone() };
    let sliding = interval(config.size(PATTERN)?.unwrap_or(INTERVAL));
    Ok(with_kinds(model, &sliding, window, local, full))
}

fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    write_windows(config, keys, INTERVAL, LAYERS_27B)?;
    let turned = |windowed: bool| {
        let forms = config.layer_forms.iter().filter(move |form| form.window.is_some() == windowed);
        forms.map(|form| form.rotary.as_ref())
    };
    let (local, full) = (turned(true).next().flatten(), turned(false).next().flatten());
    let alike = turned(true).all(|rotary| rotary == local) && turned(false).all(|rotary| rotary == full);
    keys.need(alike, "layers of one kind turn by several bases")?;
    if let Some(local) = local {
        keys.need(local.scaling.is_none(), "positions in layers with a window are stretched")?;
        keys.float("rope.freq_base_swa", local.base);
    }
    if let Some(cap) = config.logit_cap {
        keys.float("final_logit_softcapping", f64::from(cap));
    }
    Ok(())
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
