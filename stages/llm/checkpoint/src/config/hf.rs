use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ModelConfig, RopeScaling};
use crate::{CheckpointError, Family};

/// The part of `config.json` that decides how a model computes, as transformers writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct HfConfig {
    pub(crate) model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(rename = "_name_or_path", alias = "_model_name_or_path")]
    name_or_path: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Map<String, Value>>,
    rope_parameters: Option<Map<String, Value>>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    pub(crate) use_sliding_window: Option<bool>,
    quantization_config: Option<Map<String, Value>>,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
}

impl HfConfig {
    pub(crate) fn parse(text: &str) -> Result<Self, CheckpointError> {
        serde_json::from_str(text).map_err(|cause| {
            CheckpointError::new("config::malformed", "config.json cannot be read as a model's configuration")
                .caused_by(cause)
        })
    }

    /// The configuration, checked. `generation` is the text of `generation_config.json`, which may name more end tokens.
    pub(crate) fn lower(&self, generation: Option<&str>) -> Result<ModelConfig, CheckpointError> {
        let family = Family::from_model_type(self.model_type.as_deref(), &self.architectures)?;
        let traits = family.read_hf(self)?;
        if let Some(quantization) = &self.quantization_config {
            let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
            return Err(CheckpointError::new(
                "config::quantized",
                format!("the weights are quantised with `{method}`, which is not supported"),
            )
            .with_help("take the unquantised model (float32, float16 or bfloat16 safetensors) or a GGUF file of it"));
        }
        if let Some(activation) = self.hidden_act.as_deref().filter(|act| *act != "silu" && *act != "swish") {
            return Err(CheckpointError::new(
                "config::unsupported",
                format!("the activation `{activation}` is not supported; {family} models use `silu`"),
            ));
        }
        let hidden_size = need("hidden_size", self.hidden_size)?;
        let heads = need("num_attention_heads", self.num_attention_heads)?;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(CheckpointError::new(
                    "config::bad_value",
                    format!("hidden_size {hidden_size} cannot be divided into {heads} heads"),
                ));
            }
        };
        let mut eos_ids = ids(self.eos_token_id.as_ref());
        let generation: Option<Value> = generation.map(serde_json::from_str).transpose().map_err(|cause| {
            CheckpointError::new("config::malformed", "generation_config.json is not JSON").caused_by(cause)
        })?;
        for id in ids(generation.as_ref().and_then(|g| g.get("eos_token_id"))) {
            if !eos_ids.contains(&id) {
                eos_ids.push(id);
            }
        }
        let (rope_theta, rope_scaling) = self.rope()?;
        ModelConfig {
            family,
            hidden_size,
            layers: need("num_hidden_layers", self.num_hidden_layers)?,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            intermediate_size: need("intermediate_size", self.intermediate_size)?,
            vocab_size: need("vocab_size", self.vocab_size)?,
            max_positions: self.max_position_embeddings.unwrap_or(traits.default_positions),
            rms_eps: self.rms_norm_eps.unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            tied_head: self.tie_word_embeddings.unwrap_or(false),
            qkv_bias: traits.qkv_bias,
            name: self.name_or_path.as_deref().and_then(public_name).unwrap_or_else(|| family.name().to_owned()),
            bos_id: ids(self.bos_token_id.as_ref()).first().copied(),
            eos_ids,
        }
        .check()
    }

    /// Base and scaling, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling` (before).
    fn rope(&self) -> Result<(f64, Option<RopeScaling>), CheckpointError> {
        let number = |key: &str| {
            [&self.rope_parameters, &self.rope_scaling].into_iter().flatten().find_map(|map| map.get(key)?.as_f64())
        };
        let theta = number("rope_theta").or(self.rope_theta).unwrap_or(10_000.0);
        let required = |key: &str| {
            number(key).ok_or_else(|| {
                CheckpointError::new("config::missing", format!("the rotary scaling in config.json lacks `{key}`"))
            })
        };
        let kind = [&self.rope_parameters, &self.rope_scaling]
            .into_iter()
            .flatten()
            .find_map(|map| map.get("rope_type").or_else(|| map.get("type"))?.as_str());
        let scaling = match kind {
            None | Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear { factor: required("factor")? }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor: required("low_freq_factor")?,
                high_freq_factor: required("high_freq_factor")?,
                original_max_positions: required("original_max_position_embeddings")? as usize,
            }),
            Some(other) => {
                return Err(CheckpointError::new(
                    "config::unsupported",
                    format!("the rotary scaling `{other}` is not supported"),
                )
                .with_help("supported are `default`, `linear` and `llama3`"));
            }
        };
        Ok((theta, scaling))
    }
}

fn need(key: &str, value: Option<usize>) -> Result<usize, CheckpointError> {
    value.ok_or_else(|| CheckpointError::new("config::missing", format!("config.json lacks `{key}`")))
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
        assert!((old.rope_theta - 1e5).abs() < 1e-9);
        assert_eq!((old.head_dim, old.bos_id, old.eos_ids), (64, Some(1), vec![2, 0]));
    }

    #[test]
    fn llama3_scaling_is_read() {
        let mut config = smollm();
        config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        assert!(matches!(
            lower(&config).unwrap().rope_scaling,
            Some(RopeScaling::Llama3 { original_max_positions: 8192, .. })
        ));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let cases = [
            ("model_type", json!("gemma2"), "gemma2"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("rope_scaling", json!({"type": "yarn", "factor": 4}), "yarn"),
            ("quantization_config", json!({"quant_method": "gptq"}), "gptq"),
            ("num_hidden_layers", json!(null), "num_hidden_layers"),
            ("attention_bias", json!(true), "attention_bias"),
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
