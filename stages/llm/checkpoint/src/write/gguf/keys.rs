use super::metadata::Metadata;
use crate::{Activation, CheckpointError, Family, ModelConfig, RopeScaling, Rotary};

/// The keys of an architecture in the making, of which a family's file writes those that it has; the other way of
/// [`crate::config::GgufConfig`].
pub(crate) struct GgufKeys<'a> {
    family: Family,
    metadata: &'a mut Metadata,
}

impl<'a> GgufKeys<'a> {
    pub(super) fn new(family: Family, metadata: &'a mut Metadata) -> Self {
        Self { family, metadata }
    }

    /// A key of the architecture in full: `llama.block_count`.
    fn key(&self, rest: &str) -> String {
        format!("{}.{rest}", self.family.gguf_architecture())
    }

    /// A whole number, by its key without the architecture.
    pub(crate) fn count(&mut self, rest: &str, value: usize) {
        self.metadata.count(&self.key(rest), value);
    }

    /// A number.
    pub(crate) fn float(&mut self, rest: &str, value: f64) {
        self.metadata.float(&self.key(rest), value);
    }

    /// Refuses the model where `holds` does not: llama.cpp would compute another one.
    pub(crate) fn need(&self, holds: bool, otherwise: &str) -> Result<(), CheckpointError> {
        if holds { Ok(()) } else { Err(no_form(self.family, otherwise)) }
    }

    /// llama.cpp turns whole heads of this architecture.
    pub(crate) fn whole_heads_turn(&self, config: &ModelConfig) -> Result<(), CheckpointError> {
        let whole = main_rotary(config).is_none_or(|rotary| rotary.width == config.head_dim);
        self.need(whole, "positions turn a part of each head only")
    }

    /// llama.cpp takes the heads of this architecture to be as wide as the hidden states, all together.
    pub(crate) fn heads_fill_width(&self, config: &ModelConfig) -> Result<(), CheckpointError> {
        let fill = config.heads * config.head_dim == config.hidden_size;
        self.need(fill, "its heads together are not as wide as its hidden states")
    }

    /// What all architectures have, tokenizer apart; a family goes on from there.
    pub(crate) fn like_llama(&mut self, config: &ModelConfig) -> Result<(), CheckpointError> {
        // Families whose norms hold what is above 1 are those with the other activation.
        let usual = if config.norm_offset > 0.0 { Activation::GeluTanh } else { Activation::Silu };
        self.need(config.activation == usual, "its gate goes through another activation")?;
        self.metadata.text("general.architecture", self.family.gguf_architecture());
        self.metadata.text("general.type", "model");
        // A model without a name has none there either: by some names, as that of Phi-3, llama.cpp expects tokens of a vocabulary.
        if config.name != self.family.name() {
            self.metadata.text("general.name", &config.name);
        }
        let rotary = main_rotary(config);
        for (key, value) in [
            ("block_count", config.layers),
            ("context_length", config.max_positions),
            ("embedding_length", config.hidden_size),
            ("feed_forward_length", config.intermediate_size),
            ("attention.head_count", config.heads),
            ("attention.head_count_kv", config.kv_heads),
            ("attention.key_length", config.head_dim),
            ("attention.value_length", config.head_dim),
            ("rope.dimension_count", rotary.map_or(config.head_dim, |rotary| rotary.width)),
            ("vocab_size", config.vocab_size),
        ] {
            self.count(key, value);
        }
        self.float("attention.layer_norm_rms_epsilon", config.rms_eps);
        let Some(rotary) = rotary else { return Ok(()) };
        self.float("rope.freq_base", rotary.base);
        match &rotary.scaling {
            Some(RopeScaling::Linear { factor }) => {
                self.metadata.text(&self.key("rope.scaling.type"), "linear");
                self.float("rope.scaling.factor", *factor);
            }
            Some(RopeScaling::LongRope { magnitude, .. }) => self.float("rope.scaling.attn_factor", *magnitude),
            // Their divisors are tensors.
            Some(RopeScaling::Llama3 { .. } | RopeScaling::Factors(_)) | None => {}
        }
        Ok(())
    }

    /// llama.cpp has no sliding window for this architecture. Texts that are no longer than the narrowest window are computed
    /// as by the model, so the file is one of a model for such texts.
    pub(crate) fn within_windows(&mut self, config: &ModelConfig) {
        let narrowest = config.layer_forms.iter().filter_map(|form| form.window).min();
        if let Some(window) = narrowest.filter(|window| *window < config.max_positions) {
            self.count("context_length", window);
        }
    }
}

/// How positions enter the attention of those layers that see everything.
pub(super) fn main_rotary(config: &ModelConfig) -> Option<&Rotary> {
    // The last form of a period is theirs, or, where it has no positions, one before it.
    config.layer_forms.iter().rev().find_map(|form| form.rotary.as_ref())
}

/// The model is none of those that llama.cpp has under this architecture.
pub(super) fn no_form(family: Family, what: &str) -> CheckpointError {
    CheckpointError::new("write::no_gguf_form", format!("GGUF has no form for this `{family}` model: {what}"))
        .with_help("write it as a Hugging Face folder (`format: huggingface`), which keeps all of it")
}
