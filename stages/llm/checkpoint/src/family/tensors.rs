use std::ops::Range;

use super::GgufRows;
use crate::{ModelConfig, config::LinearModule};

/// Rows of a tensor that are a tensor in a GGUF file, mostly all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GgufPart {
    /// Its name in the file.
    pub(crate) name: String,
    /// Which rows they are, if not all.
    pub(crate) rows: Option<Range<usize>>,
    /// The heads within which the file has pairs of rows that turn together as neighbours, if it has.
    pub(crate) heads: Option<usize>,
}

/// What a GGUF file keeps of a tensor that Hugging Face calls `name`, in the order of its rows.
pub(crate) fn gguf_parts(config: &ModelConfig, name: &str) -> Option<Vec<GgufPart>> {
    let in_file = gguf_name(config, name)?;
    let order = config.family.gguf_rows();
    let module = name.rsplit_once('.').and_then(|(part, _)| config.linear_at(part)).map(|(_, module)| module);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    if order == GgufRows::RotaryPairsApart && module == Some(LinearModule::QueryKeyValue) {
        let part =
            |end: &str, rows, heads| GgufPart { name: in_file.replace("attn_qkv", end), rows: Some(rows), heads };
        return Some(vec![
            part("attn_q", 0..queries, Some(config.heads)),
            part("attn_k", queries..queries + keys, Some(config.kv_heads)),
            part("attn_v", queries + keys..queries + 2 * keys, None),
        ]);
    }
    let heads = match module {
        Some(LinearModule::Query) => Some(config.heads),
        Some(LinearModule::Key) => Some(config.kv_heads),
        _ => None,
    };
    Some(vec![GgufPart { name: in_file, rows: None, heads: heads.filter(|_| order != GgufRows::AsTheyAre) }])
}

/// The name in a GGUF file of a tensor that Hugging Face calls `name`.
fn gguf_name(config: &ModelConfig, name: &str) -> Option<String> {
    let (part, suffix) = name.rsplit_once('.')?;
    if !matches!(suffix, "weight" | "bias") {
        return None;
    }
    let names = config.names;
    let end = [(names.embedding, "token_embd"), (names.norm, "output_norm"), (names.head, "output")];
    if let Some((_, gguf)) = end.iter().find(|(hf, _)| *hf == part) {
        return Some(format!("{gguf}.{suffix}"));
    }
    let (layer, part) = config.in_layer(part)?;
    let linears = config.linears.iter().map(|linear| (linear.name, linear.gguf));
    let norms = config.norms.iter().map(|norm| (norm.name, norm.gguf));
    let (_, gguf) = linears.chain(norms).find(|(hf, _)| *hf == part)?;
    Some(format!("blk.{layer}.{gguf}.{suffix}"))
}

/// Whether the tensor that Hugging Face calls `name` is the weight of a norm.
pub(crate) fn is_norm(config: &ModelConfig, name: &str) -> bool {
    let Some(part) = name.strip_suffix(".weight") else { return false };
    let in_layer = || config.in_layer(part).is_some_and(|(_, part)| config.norms.iter().any(|norm| norm.name == part));
    part == config.names.norm || in_layer()
}

/// Every tensor a model of this shape has, by Hugging Face names, with its shape `[out, in]`.
///
/// Lazy on purpose: a file that claims a billion layers fails at the first missing one.
pub(crate) fn expected_tensors(config: &ModelConfig) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
    let (hidden, names) = (config.hidden_size, config.names);
    let ends = [(names.embedding, vec![config.vocab_size, hidden]), (names.norm, vec![hidden])]
        .into_iter()
        .chain((!config.tied_head).then(|| (names.head, vec![config.vocab_size, hidden])))
        .map(|(part, shape)| (format!("{part}.weight"), shape));
    let layers = (0..config.layers).flat_map(move |layer| {
        let at = move |part: &str, suffix: &str| format!("{}.{layer}.{part}.{suffix}", names.layers);
        let norms = config.norms.iter().map(move |norm| {
            let width = if norm.place.is_of_heads() { config.head_dim } else { hidden };
            (at(norm.name, "weight"), vec![width])
        });
        let linears = config.linears.iter().flat_map(move |linear| {
            let shape = config.linear_shape(linear.module);
            let bias = linear.bias.then(|| (at(linear.name, "bias"), vec![shape[0]]));
            std::iter::once((at(linear.name, "weight"), shape.to_vec())).chain(bias)
        });
        norms.chain(linears)
    });
    ends.chain(layers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_map() {
        let text = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 20, "num_attention_heads": 4,
            "intermediate_size": 128, "vocab_size": 100}"#;
        let config = ModelConfig::from_json(text).unwrap();
        let cases = [
            ("model.embed_tokens.weight", Some("token_embd.weight")),
            ("model.layers.12.self_attn.q_proj.weight", Some("blk.12.attn_q.weight")),
            ("model.layers.0.self_attn.k_proj.bias", Some("blk.0.attn_k.bias")),
            ("model.layers.3.post_attention_layernorm.weight", Some("blk.3.ffn_norm.weight")),
            ("model.layers.x.mlp.up_proj.weight", None),
            ("model.layers.1.mlp.router.weight", None),
        ];
        for (hf, gguf) in cases {
            assert_eq!(gguf_name(&config, hf).as_deref(), gguf, "{hf}");
        }
    }
}
