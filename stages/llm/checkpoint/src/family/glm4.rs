use super::{
    Definition, Family, GgufDefinition,
    glm::{self, like_glm, of_glm, own_keys},
};
use crate::{
    CheckpointError, ModelConfig,
    config::{GgufConfig, HfConfig, NormForm, NormPlace},
};

pub(super) const DEFINITION: Definition = Definition {
    name: "glm4",
    class: "Glm4ForCausalLM",
    read_hf,
    own_keys,
    gguf: GgufDefinition { name: "glm4", read: read_gguf, ..glm::GGUF },
};

const NORMS: [NormForm; 4] = [
    NormForm { place: NormPlace::BeforeAttention, name: "input_layernorm", gguf: "attn_norm" },
    NormForm { place: NormPlace::AfterAttention, name: "post_self_attn_layernorm", gguf: "post_attention_norm" },
    NormForm { place: NormPlace::BeforeFeedForward, name: "post_attention_layernorm", gguf: "ffn_norm" },
    NormForm { place: NormPlace::AfterFeedForward, name: "post_mlp_layernorm", gguf: "post_ffw_norm" },
];

fn read_hf(config: &HfConfig) -> Result<ModelConfig, CheckpointError> {
    Ok(ModelConfig { norms: NORMS.to_vec(), ..like_glm(config, Family::Glm4)? })
}

fn read_gguf(config: &GgufConfig<'_>) -> Result<ModelConfig, CheckpointError> {
    Ok(ModelConfig { norms: NORMS.to_vec(), ..of_glm(config.like_llama(Family::Glm4)?) })
}
