use serde_json::{Value, json};

use super::{Definition, Family, GgufDefinition, GgufFactors, GgufRows, parts::fused_qkv};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig},
    write::GgufKeys,
};

pub(super) const DEFINITION: Definition = Definition {
    name: "baichuan",
    class: "BaichuanForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition {
        name: "baichuan",
        read: read_gguf,
        write: write_gguf,
        rows: GgufRows::RotaryPairsApart,
        factors: GgufFactors::None,
    },
};

/// Rows of the second generation's vocabulary; its code norms the head.
const VOCABULARY_OF_2: usize = 125_696;
/// Hidden sizes of the two models: the smaller turns by positions, the larger has `ALiBi`.
const HIDDEN_7B: usize = 4096;
const HIDDEN_13B: usize = 5120;
/// Their layers, by which llama.cpp tells them apart.
const LAYERS_7B: usize = 32;
const LAYERS_13B: usize = 40;

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    let mut model = config.like_llama(Family::Baichuan, config.size("model_max_length")?.unwrap_or(4096))?;
    // Only the code beside the weights says which model it is; other sizes than the published ones are known by keys that
    // only one of the two configurations has.
    let turns = match model.hidden_size {
        HIDDEN_7B => true,
        HIDDEN_13B => false,
        _ => config.has("max_position_embeddings"),
    };
    model.unit_head = config.has("z_loss_weight");
    Ok(with_own_parts(model, turns))
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    let model = config.like_llama(Family::Baichuan)?;
    match model.layers {
        LAYERS_7B => Ok(with_own_parts(model, true)),
        LAYERS_13B => Ok(with_own_parts(model, false)),
        other => Err(CheckpointError::new(
            "config::unsupported",
            format!("a GGUF file of `baichuan` has {other} layers, which says neither rotary positions nor ALiBi"),
        )
        .with_help("the published models have 32 (7B) and 40 (13B); take the Hugging Face folder of another one")),
    }
}

/// llama.cpp knows by the layers whether a model turns. Its converter leaves the head as it is; here it is written with the
/// rows that the model computes with.
fn write_gguf(config: &ModelConfig, keys: &mut GgufKeys<'_>) -> Result<(), CheckpointError> {
    keys.whole_heads_turn(config)?;
    let layers = if config.attention.slopes.is_some() { LAYERS_13B } else { LAYERS_7B };
    keys.need(config.layers == layers, &format!("it has {} layers, and llama.cpp expects {layers}", config.layers))?;
    keys.like_llama(config)
}

fn with_own_parts(mut model: ModelConfig, turns: bool) -> ModelConfig {
    fused_qkv(&mut model, "self_attn.W_pack");
    if !turns {
        model.layer_forms[0].rotary = None;
        model.attention.slopes = Some(alibi_slopes(model.heads));
    }
    model.unit_head |= model.vocab_size == VOCABULARY_OF_2;
    model
}

fn own_keys(model: &ModelConfig) -> Value {
    let mut keys = json!({ "model_max_length": model.max_positions });
    if model.attention.slopes.is_some() {
        keys["max_position_embeddings"] = Value::Null;
    }
    keys
}

/// What each head takes off its scores for a token of distance (`_get_interleave` in Baichuan's code, after the paper on
/// `ALiBi`): a geometric row for a power of two, and every second one of the next row for the heads beyond it.
fn alibi_slopes(heads: usize) -> Vec<f32> {
    let row = |count: usize| {
        let ratio = (-8.0 / count as f64).exp2();
        (1..=count as i32).map(move |power| ratio.powi(power) as f32)
    };
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    if whole == 0 {
        return Vec::new();
    }
    row(whole).chain(row(2 * whole).step_by(2).take(heads - whole)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values from Baichuan's `_get_interleave(6)`.
    #[test]
    fn slopes_fall_from_head_to_head() {
        assert_eq!(alibi_slopes(4), [0.25, 0.0625, 0.015_625, 0.003_906_25]);
        assert_eq!(alibi_slopes(6), [0.25, 0.0625, 0.015_625, 0.003_906_25, 0.5, 0.125]);
    }
}
