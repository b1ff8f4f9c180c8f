use serde_json::{Value, json};

use super::{Definition, Family, parts::fused_qkv};
use crate::{CheckpointError, ModelConfig, config::HfConfig};

/// In GGUF the parts of `W_pack` lie apart, under names that no adapter of the model has; such files are not read.
pub(super) const DEFINITION: Definition =
    Definition { name: "baichuan", class: "BaichuanForCausalLM", read_hf, own_keys, gguf: None };

/// Rows of the second generation's vocabulary; its code norms the head.
const VOCABULARY_OF_2: usize = 125_696;
/// Hidden sizes of the two models: the smaller turns by positions, the larger has `ALiBi`.
const HIDDEN_7B: usize = 4096;
const HIDDEN_13B: usize = 5120;

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    let mut model = config.like_llama(Family::Baichuan, config.size("model_max_length")?.unwrap_or(4096))?;
    fused_qkv(&mut model, "self_attn.W_pack");
    // Only the code beside the weights says which model it is; other sizes than the published ones are known by keys that
    // only one of the two configurations has.
    let turns = match model.hidden_size {
        HIDDEN_7B => true,
        HIDDEN_13B => false,
        _ => config.has("max_position_embeddings"),
    };
    if !turns {
        model.layer_forms[0].rotary = None;
        model.attention.slopes = Some(alibi_slopes(model.heads));
    }
    model.unit_head = model.vocab_size == VOCABULARY_OF_2 || config.has("z_loss_weight");
    Ok(model)
}

fn own_keys(model: &ModelConfig) -> Value {
    json!({ "model_max_length": model.max_positions })
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
