//! Parts that several families have in common.

use crate::{
    ModelConfig,
    config::{LinearForm, LinearModule, NormForm, NormPlace},
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

/// The same with a bias on what goes into the attention.
pub(super) fn with_attention_bias(mut config: ModelConfig) -> ModelConfig {
    for linear in &mut config.linears {
        linear.bias |= linear.module.is_attention_input();
    }
    config
}
