use super::{ModelConfig, RopeScaling};
use crate::{CheckpointError, Family, gguf::GgufFile};

/// What the tensors of a GGUF file say about the model beside its metadata.
pub(crate) struct GgufFacts {
    /// The shape of the embedding: `[vocabulary, hidden]`.
    pub(crate) embedding: Option<Vec<usize>>,
    /// Whether the head has a matrix of its own.
    pub(crate) has_head: bool,
    /// `rope_freqs.weight`.
    pub(crate) rope_factors: Option<Vec<f64>>,
}

impl GgufFacts {
    /// The configuration, checked.
    pub(crate) fn lower(self, file: &GgufFile) -> Result<ModelConfig, CheckpointError> {
        let architecture = file
            .text("general.architecture")?
            .ok_or_else(|| CheckpointError::new("config::missing", "the metadata lacks `general.architecture`"))?;
        let family = Family::from_gguf(architecture)?;
        refuse_other_forms(file, architecture)?;
        let key = |rest: &str| format!("{architecture}.{rest}");
        let need = |rest: &str| {
            let key = key(rest);
            file.integer(&key)?
                .ok_or_else(|| CheckpointError::new("config::missing", format!("the metadata lacks `{key}`")))
        };
        let hidden_size = need("embedding_length")?;
        let heads = need("attention.head_count")?;
        let head_dim = match file.integer(&key("attention.key_length"))? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(heads).unwrap_or(0),
        };
        let rotated = file.integer(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if rotated != head_dim {
            return Err(CheckpointError::new(
                "config::unsupported",
                format!("only {rotated} of {head_dim} values of a head are rotated, which is not supported"),
            ));
        }
        let vocab_size = self.embedding.and_then(|shape| shape.first().copied()).ok_or_else(|| {
            CheckpointError::new("weights::missing_tensor", "the embedding `token_embd.weight` is not in the file")
        })?;
        let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
            Ok(file.integer(key)?.and_then(|id| u32::try_from(id).ok()))
        };
        let mut eos_ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            eos_ids.extend(id(key)?.filter(|id| !eos_ids.contains(id)));
        }
        let name = file.text("general.name")?.and_then(super::hf::public_name);
        ModelConfig {
            family,
            hidden_size,
            layers: need("block_count")?,
            heads,
            kv_heads: file.integer(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim,
            intermediate_size: need("feed_forward_length")?,
            vocab_size,
            max_positions: need("context_length")?,
            rms_eps: file.number(&key("attention.layer_norm_rms_epsilon"))?.map_or(1e-6, shortest),
            rope_theta: file.number(&key("rope.freq_base"))?.map_or(10_000.0, shortest),
            rope_scaling: rope_scaling(file, architecture, self.rope_factors)?,
            tied_head: !self.has_head,
            qkv_bias: family.gguf_qkv_bias(),
            name: name.unwrap_or_else(|| family.name().to_owned()),
            bos_id: id("tokenizer.ggml.bos_token_id")?,
            eos_ids,
        }
        .check()
    }
}

/// GGUF keeps single precision; `1e-5` stands there as 0.0000099999997. The shortest decimal number of the same single
/// precision is what the model's authors wrote.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

fn refuse_other_forms(file: &GgufFile, architecture: &str) -> Result<(), CheckpointError> {
    if file.integer(&format!("{architecture}.expert_count"))?.unwrap_or(0) > 0 {
        return Err(CheckpointError::new("config::unsupported", "mixtures of experts are not supported"));
    }
    if file.integer("split.count")?.unwrap_or(0) > 1 {
        return Err(CheckpointError::new("gguf::split", "the model is split over several GGUF files")
            .with_help("join them with `llama-gguf-split --merge` and name the result"));
    }
    if let Some(kind) = file.text("general.type")?.filter(|kind| *kind != "model") {
        return Err(CheckpointError::new("gguf::not_a_model", format!("the GGUF file holds a `{kind}`, not a model")));
    }
    Ok(())
}

fn rope_scaling(
    file: &GgufFile,
    architecture: &str,
    factors: Option<Vec<f64>>,
) -> Result<Option<RopeScaling>, CheckpointError> {
    if let Some(factors) = factors {
        return Ok(Some(RopeScaling::Factors(factors)));
    }
    let kind = file.text(&format!("{architecture}.rope.scaling.type"))?;
    let factor = file.number(&format!("{architecture}.rope.scaling.factor"))?;
    let old_factor = file.number(&format!("{architecture}.rope.scale_linear"))?;
    match (kind, factor.or(old_factor)) {
        (Some("linear") | None, Some(factor)) if (factor - 1.0).abs() > f64::EPSILON => {
            Ok(Some(RopeScaling::Linear { factor: shortest(factor) }))
        }
        (Some("linear" | "none") | None, _) => Ok(None),
        (Some(other), _) => {
            Err(CheckpointError::new("config::unsupported", format!("the rotary scaling `{other}` is not supported"))
                .with_help("supported are `none`, `linear` and Llama 3's factors"))
        }
    }
}
