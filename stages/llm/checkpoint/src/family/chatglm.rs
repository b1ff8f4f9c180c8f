use serde_json::{Value, json};

use super::{Definition, Family, GgufDefinition, glm};
use crate::{
    CheckpointError, ModelConfig,
    config::{
        GgufConfig, HfConfig, LayerForm, LinearForm, LinearModule, NormForm, NormPlace, PartNames, Rotary, RotaryPairs,
    },
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "chatglm",
    class: "ChatGLMForConditionalGeneration",
    read_hf,
    own_keys,
    gguf: GgufDefinition { write: write_gguf, ..glm::GGUF },
};

const NAMES: PartNames = PartNames {
    embedding: "transformer.embedding.word_embeddings",
    layers: "transformer.encoder.layers",
    norm: "transformer.encoder.final_layernorm",
    head: "transformer.output_layer",
};

const LINEARS: [LinearForm; 4] = [
    LinearForm::new(LinearModule::QueryKeyValue, "self_attention.query_key_value", "attn_qkv"),
    LinearForm::new(LinearModule::Output, "self_attention.dense", "attn_output"),
    LinearForm::new(LinearModule::GateUp, "mlp.dense_h_to_4h", "ffn_up"),
    LinearForm::new(LinearModule::Down, "mlp.dense_4h_to_h", "ffn_down"),
];

const NORMS: [NormForm; 2] = [
    NormForm { place: NormPlace::BeforeAttention, name: "input_layernorm", gguf: "attn_norm" },
    NormForm { place: NormPlace::BeforeFeedForward, name: "post_attention_layernorm", gguf: "ffn_norm" },
];

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    refuse_other_forms(config)?;
    let (hidden_size, heads) = (config.need("hidden_size")?, config.need("num_attention_heads")?);
    let head_dim = match config.size("kv_channels")? {
        Some(width) => width,
        None => hidden_size.checked_div(heads).unwrap_or(0),
    };
    let shared = config.flag("multi_query_attention")?;
    let kv_heads = if shared { config.need("multi_query_group_num")? } else { heads };
    // Half of each head turns (`RotaryEmbedding(rotary_dim // 2)`), by a base that longer models multiply.
    let base = 10_000.0 * config.number("rope_ratio")?.unwrap_or(1.0);
    let rotary = Rotary { width: head_dim / 2, pairs: RotaryPairs::Neighbours, base, scaling: None };
    let mut model = ModelConfig {
        hidden_size,
        layers: config.need("num_layers")?,
        heads,
        kv_heads,
        intermediate_size: config.need("ffn_hidden_size")?,
        vocab_size: config.need("padded_vocab_size")?,
        max_positions: config.size("seq_length")?.unwrap_or(2048),
        rms_eps: config.number("layernorm_epsilon")?.unwrap_or(1e-5),
        layer_forms: vec![LayerForm { rotary: Some(rotary), window: None }],
        tied_head: config.flag("tie_word_embeddings")?,
        name: config.name().unwrap_or_else(|| Family::ChatGlm.name().to_owned()),
        bos_id: config.bos_id(),
        eos_ids: config.eos_ids(),
        ..ModelConfig::plain(Family::ChatGlm, head_dim)
    };
    let all = config.flag("add_bias_linear")?;
    let inputs = config.flag("add_qkv_bias")?;
    with_own_parts(&mut model, |module| all || (inputs && module.is_attention_input()));
    Ok(model)
}

/// What the family's code can be switched to and no published model has.
fn refuse_other_forms(config: &HfConfig) -> Result<(), CheckpointError> {
    for (key, expected) in
        [("rmsnorm", true), ("post_layer_norm", true), ("apply_residual_connection_post_layernorm", false)]
    {
        if config.has(key) && config.flag(key)? != expected {
            return Err(CheckpointError::new(
                "config::unsupported",
                format!("`{key}: {}` is not supported for `chatglm` models", !expected),
            ));
        }
    }
    if config.has("pre_seq_len") {
        return Err(CheckpointError::new("config::unsupported", "`pre_seq_len` (P-tuning) is not supported"));
    }
    config.refuse_dropout()
}

pub(super) fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    // llama.cpp has one architecture for both layouts of GLM-4.
    if config.has_tensor("blk.0.attn_q.weight") {
        return glm::read_gguf(config);
    }
    let mut model = config.like_llama(Family::ChatGlm)?;
    with_own_parts(&mut model, LinearModule::is_attention_input);
    if let Some(rotary) = &mut model.layer_forms[0].rotary {
        rotary.pairs = RotaryPairs::Neighbours;
    }
    Ok(model)
}

fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.heads_fill_width(config)?;
    keys.like_llama(config)
}

fn with_own_parts(model: &mut ModelConfig, bias: impl Fn(LinearModule) -> bool) {
    model.names = NAMES;
    model.norms = NORMS.to_vec();
    model.linears = LINEARS.map(|linear| LinearForm { bias: bias(linear.module), ..linear }).to_vec();
}

fn own_keys(model: &ModelConfig) -> Value {
    let base = model.layer_forms[0].rotary.as_ref().map_or(10_000.0, |rotary| rotary.base);
    json!({
        "num_layers": model.layers,
        "kv_channels": model.head_dim,
        "multi_query_attention": true,
        "multi_query_group_num": model.kv_heads,
        "ffn_hidden_size": model.intermediate_size,
        "padded_vocab_size": model.vocab_size,
        "seq_length": model.max_positions,
        "layernorm_epsilon": model.rms_eps,
        "rope_ratio": base / 10_000.0,
        "rmsnorm": true,
        "post_layer_norm": true,
        "add_bias_linear": false,
        "add_qkv_bias": true,
    })
}
