use std::path::Path;

use serde_json::{Map, Value};

use super::{Activation, LayerForm, LinearModule, ModelConfig, RopeScaling, Rotary, RotaryPairs};
use crate::{CheckpointError, Family, family::SEPARATE_LINEARS};

/// `config.json`, of which a family takes the keys that it knows.
#[derive(Debug)]
pub(crate) struct HfConfig {
    values: Map<String, Value>,
    /// What `generation_config.json` says, which may name more end tokens.
    generation: Option<Value>,
}

impl HfConfig {
    pub(crate) fn parse(text: &str) -> Result<Self, CheckpointError> {
        let values = serde_json::from_str(text).map_err(|cause| {
            CheckpointError::new("config::malformed", "config.json cannot be read as a model's configuration")
                .caused_by(cause)
        })?;
        Ok(Self { values, generation: None })
    }

    /// The configuration, checked. `generation` is the text of `generation_config.json`.
    pub(crate) fn lower(mut self, generation: Option<&str>) -> Result<ModelConfig, CheckpointError> {
        self.generation = generation.map(serde_json::from_str).transpose().map_err(|cause| {
            CheckpointError::new("config::malformed", "generation_config.json is not JSON").caused_by(cause)
        })?;
        let classes = self.value("architectures").and_then(Value::as_array).into_iter().flatten();
        let classes: Vec<&str> = classes.filter_map(Value::as_str).collect();
        let family = Family::from_model_type(self.text("model_type"), &classes)?;
        self.check_quantization()?;
        family.read_hf(&self)?.check()
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        let bad = |value: &Value| {
            CheckpointError::new("config::bad_value", format!("`{key}` in config.json is {value}, which is not {what}"))
        };
        self.value(key).map(|value| read(value).ok_or_else(|| bad(value))).transpose()
    }

    /// A whole number that need not be there.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.typed(key, "a whole number", |value| usize::try_from(value.as_u64()?).ok())
    }

    /// A whole number that must be there.
    pub(crate) fn need(&self, key: &str) -> Result<usize, CheckpointError> {
        let missing = || CheckpointError::new("config::missing", format!("config.json lacks `{key}`"));
        self.size(key)?.ok_or_else(missing)
    }

    /// A number that need not be there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// Whether a switch is on; one that is not there is off.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, CheckpointError> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A number that `null` leaves out, and that is `absent` where the key is not there at all.
    pub(crate) fn number_or(&self, key: &str, absent: Option<f64>) -> Result<Option<f64>, CheckpointError> {
        if self.values.contains_key(key) { self.number(key) } else { Ok(absent) }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// A list of whole numbers.
    pub(crate) fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, CheckpointError> {
        self.typed(key, "a list of whole numbers", |value| {
            value.as_array()?.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect()
        })
    }

    /// A map within the configuration.
    pub(crate) fn map(&self, key: &str) -> Option<&Map<String, Value>> {
        self.value(key)?.as_object()
    }

    /// Refuses dropout in the model's own parts, which is not applied here: transformers does so in training.
    pub(crate) fn refuse_dropout(&self) -> Result<(), CheckpointError> {
        for key in ["attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout"] {
            if let Some(dropout) = self.number(key)?.filter(|dropout| *dropout > 0.0) {
                return Err(CheckpointError::new(
                    "config::unsupported",
                    format!("`{key}: {dropout}` is not supported: the model itself is computed without dropout"),
                )
                .with_help(format!("set `{key}` to 0 in config.json; adapters have a dropout of their own")));
            }
        }
        Ok(())
    }

    /// What the gate goes through, by the first of these keys that is there; silu if none is.
    pub(crate) fn activation(&self, keys: &[&str]) -> Result<Activation, CheckpointError> {
        let Some((key, name)) = keys.iter().find_map(|key| Some((key, self.text(key)?))) else {
            return Ok(Activation::Silu);
        };
        match name {
            "silu" | "swish" => Ok(Activation::Silu),
            "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
            other => Err(CheckpointError::new(
                "config::unsupported",
                format!("the activation `{key}: {other}` is not supported"),
            )
            .with_help("supported are `silu` and `gelu_pytorch_tanh`")),
        }
    }

    /// What Llama's configuration says, in the keys that most families took over; a family goes on from there.
    ///
    /// `positions` is `max_position_embeddings` where the file is silent.
    pub(crate) fn like_llama(&self, family: Family, positions: usize) -> Result<ModelConfig, CheckpointError> {
        self.refuse_dropout()?;
        let hidden_size = self.need("hidden_size")?;
        let heads = self.need("num_attention_heads")?;
        let head_dim = match self.size("head_dim")? {
            Some(head_dim) => head_dim,
            None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(CheckpointError::new(
                    "config::bad_value",
                    format!("hidden_size {hidden_size} cannot be divided into {heads} heads"),
                ));
            }
        };
        let max_positions = self.size("max_position_embeddings")?.unwrap_or(positions);
        let rotary = self.rotary(head_dim, max_positions)?;
        let mut linears = SEPARATE_LINEARS.to_vec();
        let (of_attention, of_feed_forward) = (self.flag("attention_bias")?, self.flag("mlp_bias")?);
        for linear in &mut linears {
            let in_attention = linear.module.is_attention_input() || linear.module == LinearModule::Output;
            linear.bias = if in_attention { of_attention } else { of_feed_forward };
        }
        Ok(ModelConfig {
            family,
            hidden_size,
            layers: self.need("num_hidden_layers")?,
            heads,
            kv_heads: self.size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            intermediate_size: self.need("intermediate_size")?,
            vocab_size: self.need("vocab_size")?,
            max_positions,
            rms_eps: self.number("rms_norm_eps")?.unwrap_or(1e-6),
            tied_head: self.flag("tie_word_embeddings")?,
            linears,
            activation: self.activation(&["hidden_act"])?,
            layer_forms: vec![LayerForm { rotary: Some(rotary), window: None }],
            name: self.name().unwrap_or_else(|| family.name().to_owned()),
            bos_id: self.bos_id(),
            eos_ids: self.eos_ids(),
            ..ModelConfig::plain(family, head_dim)
        })
    }

    /// Of the ways of quantising in this layout, NF4 of bitsandbytes is read.
    fn check_quantization(&self) -> Result<(), CheckpointError> {
        let Some(quantization) = self.value("quantization_config") else { return Ok(()) };
        let text = |key: &str| quantization.get(key).and_then(Value::as_str);
        let method = match text("quant_method").unwrap_or("unnamed") {
            "bitsandbytes" if quantization.get("load_in_4bit") == Some(&Value::Bool(true)) => {
                match text("bnb_4bit_quant_type") {
                    Some("nf4") => return Ok(()),
                    other => format!("bitsandbytes, {}", other.unwrap_or("fp4")),
                }
            }
            "bitsandbytes" => "bitsandbytes, eight bits".to_owned(),
            other => other.to_owned(),
        };
        Err(CheckpointError::new(
            "config::quantized",
            format!("the weights are quantised with `{method}`, which is not supported"),
        )
        .with_help(
            "take the unquantised model (float32, float16 or bfloat16 safetensors), bitsandbytes' NF4, or a GGUF file",
        ))
    }

    pub(crate) fn name(&self) -> Option<String> {
        ["_name_or_path", "_model_name_or_path"].into_iter().find_map(|key| self.text(key)).and_then(public_name)
    }

    pub(crate) fn bos_id(&self) -> Option<u32> {
        ids(self.value("bos_token_id")).first().copied()
    }

    /// The tokens that end a text, by both files.
    pub(crate) fn eos_ids(&self) -> Vec<u32> {
        let mut found = ids(self.value("eos_token_id"));
        for id in ids(self.generation.as_ref().and_then(|generation| generation.get("eos_token_id"))) {
            if !found.contains(&id) {
                found.push(id);
            }
        }
        found
    }

    /// Which blocks attend within a window, by `layer_types`, if the file has it.
    pub(crate) fn sliding_layers(&self, layers: usize) -> Result<Option<Vec<bool>>, CheckpointError> {
        let kinds: Option<Vec<String>> = self.typed("layer_types", "a list of texts", |value| {
            value.as_array()?.iter().map(|kind| kind.as_str().map(str::to_owned)).collect()
        })?;
        let Some(kinds) = kinds else { return Ok(None) };
        if kinds.len() != layers {
            return Err(CheckpointError::new(
                "config::bad_value",
                format!("`layer_types` has {} entries for {layers} layers", kinds.len()),
            ));
        }
        let sliding = kinds.iter().map(|kind| match kind.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => Err(CheckpointError::new(
                "config::unsupported",
                format!("`layer_types` names `{other}`, which is not supported"),
            )
            .with_help("supported are `full_attention` and `sliding_attention`")),
        });
        sliding.collect::<Result<_, _>>().map(Some)
    }

    /// Positions by `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before).
    fn rotary(&self, head_dim: usize, positions: usize) -> Result<Rotary, CheckpointError> {
        let maps: Vec<_> = ["rope_parameters", "rope_scaling"].into_iter().filter_map(|key| self.map(key)).collect();
        let base = self.number("rope_theta")?.unwrap_or(10_000.0);
        self.rotary_by(&maps, base, head_dim, positions)
    }

    /// Positions by what maps say, the first that has a key deciding; `base` holds where they name none.
    pub(crate) fn rotary_by(
        &self,
        maps: &[&Map<String, Value>],
        base: f64,
        head_dim: usize,
        positions: usize,
    ) -> Result<Rotary, CheckpointError> {
        let number = |key: &str| maps.iter().find_map(|map| map.get(key)?.as_f64());
        let base = number("rope_theta").unwrap_or(base);
        let share = match number("partial_rotary_factor") {
            Some(share) => share,
            None => self.number("partial_rotary_factor")?.unwrap_or(1.0),
        };
        let missing = |key: &str| {
            CheckpointError::new("config::missing", format!("the rotary scaling in config.json lacks `{key}`"))
        };
        let required = |key: &str| number(key).ok_or_else(|| missing(key));
        let factors = |key: &str| {
            let list = maps.iter().find_map(|map| map.get(key)?.as_array()).ok_or_else(|| missing(key))?;
            let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
            numbers
                .ok_or_else(|| CheckpointError::new("config::bad_value", format!("`{key}` holds other than numbers")))
        };
        let kind = maps.iter().find_map(|map| map.get("rope_type").or_else(|| map.get("type"))?.as_str());
        let scaling = match kind {
            None | Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear { factor: required("factor")? }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original_max_positions: required("original_max_position_embeddings")? as usize,
            }),
            // Phi-3 called it `su` at first.
            Some("longrope" | "su") => {
                let original = match number("original_max_position_embeddings") {
                    Some(original) => original as usize,
                    None => self.size("original_max_position_embeddings")?.unwrap_or(positions),
                };
                let stretch = number("factor").unwrap_or(positions as f64 / original.max(1) as f64);
                Some(RopeScaling::LongRope {
                    short: factors("short_factor")?,
                    long: factors("long_factor")?,
                    original_max_positions: original,
                    magnitude: number("attention_factor").unwrap_or_else(|| longrope_magnitude(stretch, original)),
                })
            }
            Some(other) => {
                return Err(CheckpointError::new(
                    "config::unsupported",
                    format!("the rotary scaling `{other}` is not supported"),
                )
                .with_help("supported are `default`, `linear`, `llama3` and `longrope`"));
            }
        };
        Ok(Rotary { width: (head_dim as f64 * share) as usize, pairs: RotaryPairs::Halves, base, scaling })
    }
}

/// √(1 + ln stretch / ln original), or 1 where nothing is stretched.
pub(super) fn longrope_magnitude(stretch: f64, original: usize) -> f64 {
    if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() }
}

/// A token id, or a list of them.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A model's own name; a folder of the machine that wrote the file says nothing to anybody else.
pub(super) fn public_name(name: &str) -> Option<String> {
    let name = name.trim();
    let is_path = name.starts_with(['.', '~'])
        || name.contains('\\')
        || Path::new(name).is_absolute()
        || name.as_bytes().get(1) == Some(&b':')
        || name.matches('/').count() > 1;
    (!name.is_empty() && !is_path).then(|| name.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lower(value: &Value) -> Result<ModelConfig, CheckpointError> {
        HfConfig::parse(&value.to_string()).unwrap().lower(None)
    }

    fn smollm() -> Value {
        json!({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 0]})
    }

    #[test]
    fn rope_is_read_from_either_place() {
        let mut old = smollm();
        old["rope_theta"] = json!(100_000);
        let mut new = smollm();
        new["rope_parameters"] = json!({"rope_theta": 100_000.0, "rope_type": "default"});
        let (old, new) = (lower(&old).unwrap(), lower(&new).unwrap());
        assert_eq!(old, new);
        assert!((old.layer_form(0).rotary.as_ref().unwrap().base - 1e5).abs() < 1e-9);
        assert_eq!((old.head_dim, old.bos_id, old.eos_ids), (64, Some(1), vec![2, 0]));
    }

    #[test]
    fn llama3_scaling_is_read() {
        let mut config = smollm();
        config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let scaling = lower(&config).unwrap().layer_form(0).rotary.clone().unwrap().scaling;
        assert!(matches!(scaling, Some(RopeScaling::Llama3 { original_max_positions: 8192, .. })));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let cases = [
            ("model_type", json!("gemma4"), "gemma4"),
            ("attention_dropout", json!(0.1), "attention_dropout"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("rope_scaling", json!({"type": "yarn", "factor": 4}), "yarn"),
            ("quantization_config", json!({"quant_method": "gptq"}), "gptq"),
            ("num_hidden_layers", json!(null), "num_hidden_layers"),
            ("attention_bias", json!(1), "attention_bias"),
            ("hidden_size", json!("wide"), "hidden_size"),
        ];
        for (key, value, named) in cases {
            let mut config = smollm();
            config[key] = value;
            let error = lower(&config).unwrap_err();
            assert!(error.message().contains(named), "{}", error.message());
        }
    }

    #[test]
    fn a_path_is_not_a_name() {
        assert_eq!(public_name("HuggingFaceTB/SmolLM2-135M").as_deref(), Some("HuggingFaceTB/SmolLM2-135M"));
        for path in ["/root/models/x", "./x", "~/x", "C:\\models\\x", "C:/models", "a/b/c", ""] {
            assert_eq!(public_name(path), None, "{path}");
        }
    }
}
