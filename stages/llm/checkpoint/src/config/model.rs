use super::{
    Activation, AttentionForm, HfConfig, LayerForm, LinearForm, LinearModule, NormForm, NormPlace, PartNames, Rotary,
};
use crate::{
    CheckpointError, Family,
    family::{SEPARATE_LINEARS, TWO_NORMS, expected_tensors},
};

/// The shape of a model, and what its decoder blocks are made of, as its family's file says it. Sizes are counts of elements.
///
/// Both ways to compute (burn operations, fused kernels) carry out this one description, and the names in files, of adapters
/// too, follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rows of the embedding, padding rows included.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// Added under the root of `RMSNorm`.
    pub rms_eps: f64,
    /// Hidden states are multiplied by it before the first block.
    pub embedding_scale: Option<f32>,
    /// How all blocks attend.
    pub attention: AttentionForm,
    /// In what blocks differ: block `i` has the form `i` modulo their number.
    pub layer_forms: Vec<LayerForm>,
    /// What the gate of the feed-forward part goes through.
    pub activation: Activation,
    /// Added to the weights of all norms: 1 where files hold what is above it.
    pub norm_offset: f32,
    /// Whether the rows of the head are brought to length 1 first.
    pub unit_head: bool,
    /// Logits are held in ± this: c · tanh(logit / c).
    pub logit_cap: Option<f32>,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
    /// The linear layers of a block, in the order of computation.
    pub linears: Vec<LinearForm>,
    /// The norms of a block.
    pub norms: Vec<NormForm>,
    /// What Hugging Face's files call the parts.
    pub names: PartNames,
    /// What the model calls itself; never a path of some machine.
    pub name: String,
    /// The token that starts a text, if the model has one.
    pub bos_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

/// Above every model there is; keeps products of two sizes far from overflow.
const LIMIT: usize = 1 << 30;

impl ModelConfig {
    /// What a family has where nothing else is said, without sizes; a family's file fills in the rest.
    pub(crate) fn plain(family: Family, head_dim: usize) -> Self {
        Self {
            family,
            hidden_size: 0,
            layers: 0,
            heads: 0,
            kv_heads: 0,
            head_dim,
            intermediate_size: 0,
            vocab_size: 0,
            max_positions: 0,
            rms_eps: 1e-6,
            embedding_scale: None,
            attention: AttentionForm::plain(head_dim),
            layer_forms: vec![LayerForm { rotary: None, window: None }],
            activation: Activation::Silu,
            norm_offset: 0.0,
            unit_head: false,
            logit_cap: None,
            tied_head: false,
            linears: SEPARATE_LINEARS.to_vec(),
            norms: TWO_NORMS.to_vec(),
            names: PartNames::LLAMA,
            name: family.name().to_owned(),
            bos_id: None,
            eos_ids: Vec::new(),
        }
    }

    /// A model of the same parts in small, with sizes that let every part have an effect on rows of a few tokens: for
    /// checks of a device. Stretched positions are left out; they change numbers, and nothing that is computed with them.
    #[must_use]
    pub fn in_small(&self) -> Self {
        const HEAD_DIM: usize = 8;
        let mut layer_forms: Vec<LayerForm> = Vec::new();
        for form in &self.layer_forms {
            let rotary = form.rotary.as_ref().map(|rotary| Rotary {
                width: (HEAD_DIM * rotary.width / self.head_dim).max(2).next_multiple_of(2),
                scaling: None,
                ..rotary.clone()
            });
            let form = LayerForm { rotary, window: form.window.map(|_| 3) };
            if !layer_forms.contains(&form) {
                layer_forms.push(form);
            }
        }
        let slopes = self.attention.slopes.as_ref().map(|_| vec![0.5, 0.25, 0.125, 0.0625]);
        Self {
            hidden_size: 16,
            layers: layer_forms.len().max(2),
            heads: 4,
            kv_heads: if self.kv_heads == self.heads { 4 } else { 2 },
            head_dim: HEAD_DIM,
            intermediate_size: 24,
            vocab_size: 20,
            max_positions: 64,
            attention: AttentionForm { slopes, cap: self.attention.cap, ..AttentionForm::plain(HEAD_DIM) },
            layer_forms,
            bos_id: None,
            eos_ids: Vec::new(),
            ..self.clone()
        }
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// What is missing, contradictory or not supported, by its key.
    pub fn from_json(text: &str) -> Result<Self, CheckpointError> {
        HfConfig::parse(text)?.lower(None)
    }

    /// In what a block differs from others.
    pub fn layer_form(&self, layer: usize) -> &LayerForm {
        &self.layer_forms[layer % self.layer_forms.len()]
    }

    /// The norm of a block at this place, if there is one.
    pub fn norm(&self, place: NormPlace) -> Option<&NormForm> {
        self.norms.iter().find(|norm| norm.place == place)
    }

    /// The full name of a norm's weight: `model.layers.3.input_layernorm.weight`.
    pub fn norm_weight(&self, layer: usize, norm: &NormForm) -> String {
        format!("{}.{layer}.{}.weight", self.names.layers, norm.name)
    }

    /// The linear layer of a block that computes this, if there is one.
    pub fn linear(&self, module: LinearModule) -> Option<&LinearForm> {
        self.linears.iter().find(|linear| linear.module == module)
    }

    /// Every linear layer of every block, in the order of computation.
    pub fn linear_modules(&self) -> impl Iterator<Item = (usize, LinearModule)> + '_ {
        (0..self.layers).flat_map(|layer| self.linears.iter().map(move |linear| (layer, linear.module)))
    }

    /// Every tensor that the model has, by Hugging Face names, with its shape: `[out, in]` for a projection. Lazy: a file
    /// that claims a billion layers costs nothing until its first missing one.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        expected_tensors(self)
    }

    /// The full name of a linear layer: `model.layers.3.self_attn.q_proj`.
    ///
    /// # Panics
    /// When the blocks have no such layer.
    pub fn linear_path(&self, layer: usize, module: LinearModule) -> String {
        let linear = self.linear(module).expect("invariant: one of this model's linear layers");
        format!("{}.{layer}.{}", self.names.layers, linear.name)
    }

    /// The linear layer of that full name; its block may be beyond those of the model.
    pub fn linear_at(&self, path: &str) -> Option<(usize, LinearModule)> {
        let (layer, name) = self.in_layer(path)?;
        let linear = self.linears.iter().find(|linear| linear.name == name)?;
        Some((layer, linear.module))
    }

    /// Rows and columns of a linear layer: `[out, in]`.
    pub fn linear_shape(&self, module: LinearModule) -> [usize; 2] {
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        let queries = self.heads * self.head_dim;
        let keys = self.kv_heads * self.head_dim;
        match module {
            LinearModule::Query => [queries, hidden],
            LinearModule::Key | LinearModule::Value => [keys, hidden],
            LinearModule::QueryKeyValue => [queries + 2 * keys, hidden],
            LinearModule::Output => [hidden, queries],
            LinearModule::Gate | LinearModule::Up => [wide, hidden],
            LinearModule::GateUp => [2 * wide, hidden],
            LinearModule::Down => [hidden, wide],
        }
    }

    /// The block that a full name belongs to, and the rest of the name.
    pub(crate) fn in_layer<'a>(&self, path: &'a str) -> Option<(usize, &'a str)> {
        let (layer, rest) = path.strip_prefix(self.names.layers)?.strip_prefix('.')?.split_once('.')?;
        layer.bytes().all(|b| b.is_ascii_digit()).then(|| Some((layer.parse().ok()?, rest)))?
    }

    /// Refuses sizes no model can have.
    pub(crate) fn check(self) -> Result<Self, CheckpointError> {
        let sizes = [
            ("the hidden size", self.hidden_size),
            ("the number of layers", self.layers),
            ("the number of heads", self.heads),
            ("the number of key/value heads", self.kv_heads),
            ("the head width", self.head_dim),
            ("the feed-forward width", self.intermediate_size),
            ("the vocabulary", self.vocab_size),
            ("the number of positions", self.max_positions),
        ];
        let bad = |message: String| Err(CheckpointError::new("config::bad_value", message));
        for (what, size) in sizes {
            if size == 0 || size > LIMIT {
                return bad(format!("{what} is {size}, which no model can have"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(format!("{} heads cannot be shared by {} key/value heads", self.heads, self.kv_heads));
        }
        if !(self.rms_eps.is_finite() && self.rms_eps >= 0.0) {
            return bad(format!("the RMSNorm epsilon is {}", self.rms_eps));
        }
        let rotaries = self.layer_forms.iter().filter_map(|form| form.rotary.as_ref());
        if let Some(problem) = rotaries.into_iter().find_map(|rotary| rotary.problem(self.head_dim)) {
            return bad(problem);
        }
        if self.layer_forms.iter().any(|form| form.window == Some(0)) {
            return bad("the sliding window is 0, so that no token would see anything".into());
        }
        for (what, value) in [
            ("the scale of the attention", Some(self.attention.scale)),
            ("the cap of attention scores", self.attention.cap),
            ("the cap of logits", self.logit_cap),
            ("the scale of the embedding", self.embedding_scale),
        ] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return bad(format!("{what} is {value}"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::RopeScaling;

    fn config() -> ModelConfig {
        let text = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100, "max_position_embeddings": 256}"#;
        ModelConfig::from_json(text).unwrap()
    }

    fn rotary() -> Rotary {
        config().layer_form(0).rotary.clone().unwrap()
    }

    fn with_rotary(rotary: Rotary) -> ModelConfig {
        ModelConfig { layer_forms: vec![LayerForm { rotary: Some(rotary), window: None }], ..config() }
    }

    #[test]
    fn plain_frequencies_fall_from_one() {
        let frequencies = rotary().inverse_frequencies(1);
        assert_eq!(frequencies.len(), 8);
        assert!((frequencies[0] - 1.0).abs() < 1e-12);
        assert!((frequencies[4] - 0.01).abs() < 1e-12);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(config().check().is_ok());
        assert!(ModelConfig { kv_heads: 3, ..config() }.check().is_err());
        assert!(with_rotary(Rotary { width: 15, ..rotary() }).check().is_err());
        assert!(with_rotary(Rotary { width: 18, ..rotary() }).check().is_err());
        assert!(ModelConfig { layers: 0, ..config() }.check().is_err());
        assert!(with_rotary(Rotary { base: f64::NAN, ..rotary() }).check().is_err());
        let scaling = Some(RopeScaling::Factors(vec![1.0; 3]));
        assert!(with_rotary(Rotary { scaling, ..rotary() }).check().is_err());
        assert!(ModelConfig { logit_cap: Some(0.0), ..config() }.check().is_err());
    }

    #[test]
    fn linear_layers_have_their_full_names() {
        let config = config();
        let (layer, module) = (1, LinearModule::Key);
        assert_eq!(config.linear_path(layer, module), "model.layers.1.self_attn.k_proj");
        for (layer, module) in config.linear_modules() {
            assert_eq!(config.linear_at(&config.linear_path(layer, module)), Some((layer, module)));
        }
        assert_eq!(config.linear_modules().count(), 14);
        for other in ["model.layers.x.mlp.up_proj", "model.layers.1.mlp.router", "layers.1.mlp.up_proj", "lm_head"] {
            assert_eq!(config.linear_at(other), None, "{other}");
        }
    }
}
