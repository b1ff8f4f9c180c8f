//! Parts that several families have in common.

use crate::{
    ModelConfig,
    config::{LayerForm, LinearForm, LinearModule, NormForm, NormPlace},
};

/// Llama's linear layers, each by itself.
pub(crate) const SEPARATE_LINEARS: [LinearForm; 7] = [
    LinearForm::new(LinearModule::Query, "self_attn.q_proj", "attn_q"),
    LinearForm::new(LinearModule::Key, "self_attn.k_proj", "attn_k"),
    LinearForm::new(LinearModule::Value, "self_attn.v_proj", "attn_v"),
    LinearForm::new(LinearModule::Output, "self_attn.o_proj", "attn_output"),
    LinearForm::new(LinearModule::Gate, "mlp.gate_proj", "ffn_gate"),
    LinearForm::new(LinearModule::Up, "mlp.up_proj", "ffn_up"),
    LinearForm::new(LinearModule::Down, "mlp.down_proj", "ffn_down"),
];

/// Llama's norms: on the input of the attention and of the feed-forward part.
pub(crate) const TWO_NORMS: [NormForm; 2] = [
    NormForm { place: NormPlace::BeforeAttention, name: "input_layernorm", gguf: "attn_norm" },
    NormForm { place: NormPlace::BeforeFeedForward, name: "post_attention_layernorm", gguf: "ffn_norm" },
];

/// Norms on each head of queries and keys.
pub(super) const HEAD_NORMS: [NormForm; 2] = [
    NormForm { place: NormPlace::Queries, name: "self_attn.q_norm", gguf: "attn_q_norm" },
    NormForm { place: NormPlace::Keys, name: "self_attn.k_norm", gguf: "attn_k_norm" },
];

/// Gemma's norms: on the input and on the output of both parts.
pub(super) const FOUR_NORMS: [NormForm; 4] = [
    NormForm { place: NormPlace::BeforeAttention, name: "input_layernorm", gguf: "attn_norm" },
    NormForm { place: NormPlace::AfterAttention, name: "post_attention_layernorm", gguf: "post_attention_norm" },
    NormForm { place: NormPlace::BeforeFeedForward, name: "pre_feedforward_layernorm", gguf: "ffn_norm" },
    NormForm { place: NormPlace::AfterFeedForward, name: "post_feedforward_layernorm", gguf: "post_ffw_norm" },
];

/// Puts one layer in the place of queries, keys and values.
pub(super) fn fused_qkv(model: &mut ModelConfig, name: &'static str) {
    fuse(model, LinearModule::is_attention_input, LinearForm::new(LinearModule::QueryKeyValue, name, "attn_qkv"));
}

/// Puts one layer in the place of gate and up.
pub(super) fn fused_gate_up(model: &mut ModelConfig, name: &'static str) {
    fuse(model, LinearModule::is_feed_forward_input, LinearForm::new(LinearModule::GateUp, name, "ffn_up"));
}

fn fuse(model: &mut ModelConfig, part: fn(LinearModule) -> bool, mut whole: LinearForm) {
    if let Some(first) = model.linears.iter().position(|linear| part(linear.module)) {
        whole.bias = model.linears[first].bias;
        model.linears.retain(|linear| !part(linear.module));
        model.linears.insert(first, whole);
    }
}

/// The forms of blocks in turn: `chosen` where the list says so, else `other`. A list that repeats itself is cut to its
/// period.
pub(super) fn in_turn(list: &[bool], chosen: &LayerForm, other: &LayerForm) -> Vec<LayerForm> {
    let repeats = |period: &usize| {
        list.iter().zip(list.iter().cycle().skip(*period)).take(list.len() - period).all(|(a, b)| a == b)
    };
    let period = (1..list.len()).find(repeats).unwrap_or(list.len());
    list[..period].iter().map(|here| if *here { chosen.clone() } else { other.clone() }).collect()
}

/// Which layers of an interval are of the usual kind: all but its last.
pub(super) fn interval(every: usize) -> Vec<bool> {
    (1..=every.max(1)).map(|layer| layer < every.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_repeats_is_cut_to_its_period() {
        let (chosen, other) = (LayerForm { rotary: None, window: Some(4) }, LayerForm { rotary: None, window: None });
        let windows = |list: &[bool]| in_turn(list, &chosen, &other).iter().map(|form| form.window).collect::<Vec<_>>();
        assert_eq!(windows(&[true, true, false, true, true, false, true]), [Some(4), Some(4), None]);
        assert_eq!(windows(&[false; 5]), [None]);
        assert_eq!(windows(&[false, false, true]), [None, None, Some(4)]);
    }
}
