use super::{LayerForm, ModelConfig, RopeScaling, Rotary, RotaryPairs, hf::longrope_magnitude};
use crate::{CheckpointError, Family, gguf::GgufFile};

/// What the tensors of a GGUF file say about the model beside its metadata.
pub(crate) struct GgufFacts {
    /// The shape of the embedding: `[vocabulary, hidden]`.
    pub(crate) embedding: Option<Vec<usize>>,
    /// Whether the head has a matrix of its own.
    pub(crate) has_head: bool,
    /// `rope_freqs.weight`.
    pub(crate) rope_factors: Option<Vec<f64>>,
    /// `rope_factors_short.weight` and `rope_factors_long.weight`.
    pub(crate) longrope: Option<[Vec<f64>; 2]>,
}

/// The metadata of a GGUF file, of which a family takes the keys that it knows.
pub(crate) struct GgufConfig<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
    facts: GgufFacts,
}

impl GgufFacts {
    /// The configuration, checked.
    pub(crate) fn lower(self, file: &GgufFile) -> Result<ModelConfig, CheckpointError> {
        let architecture = file
            .text("general.architecture")?
            .ok_or_else(|| CheckpointError::new("config::missing", "the metadata lacks `general.architecture`"))?;
        refuse_other_forms(file, architecture)?;
        let mut model = Family::read_gguf(architecture, &GgufConfig { file, architecture, facts: self })?;
        for linear in &mut model.linears {
            // No key says which layers have a bias beyond those that all of a family have.
            linear.bias |= file.holds(&format!("blk.0.{}.bias", linear.gguf));
        }
        model.check()
    }
}

impl GgufConfig<'_> {
    /// A key of the architecture in full: `llama.block_count`.
    fn key(&self, rest: &str) -> String {
        format!("{}.{rest}", self.architecture)
    }

    /// A whole number that need not be there, by its key without the architecture.
    pub(crate) fn size(&self, rest: &str) -> Result<Option<usize>, CheckpointError> {
        self.file.integer(&self.key(rest))
    }

    /// A whole number that must be there.
    pub(crate) fn need(&self, rest: &str) -> Result<usize, CheckpointError> {
        let missing = || CheckpointError::new("config::missing", format!("the metadata lacks `{}`", self.key(rest)));
        self.size(rest)?.ok_or_else(missing)
    }

    /// A number that need not be there.
    pub(crate) fn number(&self, rest: &str) -> Result<Option<f64>, CheckpointError> {
        Ok(self.file.number(&self.key(rest))?.map(shortest))
    }

    /// What llama.cpp writes for Llama, in the keys that most architectures share; a family goes on from there.
    pub(crate) fn like_llama(&self, family: Family) -> Result<ModelConfig, CheckpointError> {
        let hidden_size = self.need("embedding_length")?;
        let heads = self.need("attention.head_count")?;
        let head_dim = match self.size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(heads).unwrap_or(0),
        };
        let vocab_size = self.facts.embedding.as_ref().and_then(|shape| shape.first().copied()).ok_or_else(|| {
            CheckpointError::new("weights::missing_tensor", "the embedding `token_embd.weight` is not in the file")
        })?;
        let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
            Ok(self.file.integer(key)?.and_then(|id| u32::try_from(id).ok()))
        };
        let mut eos_ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            eos_ids.extend(id(key)?.filter(|id| !eos_ids.contains(id)));
        }
        let name = self.file.text("general.name")?.and_then(super::hf::public_name);
        Ok(ModelConfig {
            family,
            hidden_size,
            layers: self.need("block_count")?,
            heads,
            kv_heads: self.size("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            intermediate_size: self.need("feed_forward_length")?,
            vocab_size,
            max_positions: self.need("context_length")?,
            rms_eps: self.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6),
            layer_forms: vec![LayerForm { rotary: Some(self.rotary(head_dim)?), window: None }],
            tied_head: !self.facts.has_head,
            name: name.unwrap_or_else(|| family.name().to_owned()),
            bos_id: id("tokenizer.ggml.bos_token_id")?,
            eos_ids,
            ..ModelConfig::plain(family, head_dim)
        })
    }

    /// Whether the file has a tensor of that name.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.file.holds(name)
    }

    fn rotary(&self, head_dim: usize) -> Result<Rotary, CheckpointError> {
        Ok(Rotary {
            width: self.size("rope.dimension_count")?.unwrap_or(head_dim),
            pairs: RotaryPairs::Halves,
            base: self.number("rope.freq_base")?.unwrap_or(10_000.0),
            scaling: self.rope_scaling()?,
        })
    }

    fn rope_scaling(&self) -> Result<Option<RopeScaling>, CheckpointError> {
        if let Some(factors) = &self.facts.rope_factors {
            return Ok(Some(RopeScaling::Factors(factors.clone())));
        }
        if let Some([short, long]) = &self.facts.longrope {
            let positions = self.need("context_length")?;
            let original = self.size("rope.scaling.original_context_length")?.unwrap_or(positions);
            let magnitude = match self.number("rope.scaling.attn_factor")? {
                Some(magnitude) => magnitude,
                None => longrope_magnitude(positions as f64 / original.max(1) as f64, original),
            };
            return Ok(Some(RopeScaling::LongRope {
                short: short.clone(),
                long: long.clone(),
                original_max_positions: original,
                magnitude,
            }));
        }
        let factor = self.number("rope.scaling.factor")?;
        let old_factor = self.number("rope.scale_linear")?;
        match (self.file.text(&self.key("rope.scaling.type"))?, factor.or(old_factor)) {
            (Some("linear") | None, Some(factor)) if (factor - 1.0).abs() > f64::EPSILON => {
                Ok(Some(RopeScaling::Linear { factor }))
            }
            (Some("linear" | "none") | None, _) => Ok(None),
            (Some(other), _) => Err(CheckpointError::new(
                "config::unsupported",
                format!("the rotary scaling `{other}` is not supported"),
            )
            .with_help("supported are `none`, `linear` and factors in tensors (Llama 3, Phi-3)")),
        }
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
