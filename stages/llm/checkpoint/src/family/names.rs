use crate::ModelConfig;

/// Hugging Face's part names and llama.cpp's, shared by every family so far.
const LAYER_PARTS: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The name a tensor has in a GGUF file.
pub(crate) fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some("output.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, suffix) = rest.rsplit_once('.')?;
    let (_, gguf) = LAYER_PARTS.iter().find(|(hf, _)| *hf == part)?;
    (layer.bytes().all(|b| b.is_ascii_digit()) && matches!(suffix, "weight" | "bias"))
        .then(|| format!("blk.{layer}.{gguf}.{suffix}"))
}

/// Every tensor a model of this shape has, by Hugging Face names, with its shape `[out, in]`.
///
/// Lazy on purpose: a file that claims a billion layers fails at the first missing one.
pub(crate) fn expected_tensors(config: &ModelConfig) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
    let hidden = config.hidden_size;
    let (q, kv, wide) = (config.heads * config.head_dim, config.kv_heads * config.head_dim, config.intermediate_size);
    let ends = [("model.embed_tokens.weight", vec![config.vocab_size, hidden]), ("model.norm.weight", vec![hidden])]
        .into_iter()
        .chain((!config.tied_head).then(|| ("lm_head.weight", vec![config.vocab_size, hidden])))
        .map(|(name, shape)| (name.to_owned(), shape));
    let layers = (0..config.layers).flat_map(move |layer| {
        LAYER_PARTS.iter().flat_map(move |(part, _)| {
            let shape = match *part {
                "self_attn.q_proj" => vec![q, hidden],
                "self_attn.k_proj" | "self_attn.v_proj" => vec![kv, hidden],
                "self_attn.o_proj" => vec![hidden, q],
                "mlp.gate_proj" | "mlp.up_proj" => vec![wide, hidden],
                "mlp.down_proj" => vec![hidden, wide],
                _ => vec![hidden],
            };
            let biased =
                config.qkv_bias && matches!(*part, "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj");
            let bias = biased.then(|| (format!("model.layers.{layer}.{part}.bias"), vec![shape[0]]));
            std::iter::once((format!("model.layers.{layer}.{part}.weight"), shape)).chain(bias)
        })
    });
    ends.chain(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map() {
        let cases = [
            ("model.embed_tokens.weight", Some("token_embd.weight")),
            ("model.layers.12.self_attn.q_proj.weight", Some("blk.12.attn_q.weight")),
            ("model.layers.0.self_attn.k_proj.bias", Some("blk.0.attn_k.bias")),
            ("model.layers.3.post_attention_layernorm.weight", Some("blk.3.ffn_norm.weight")),
            ("model.layers.x.mlp.up_proj.weight", None),
            ("model.layers.1.mlp.router.weight", None),
        ];
        for (hf, gguf) in cases {
            assert_eq!(gguf_name(hf).as_deref(), gguf, "{hf}");
        }
    }
}
