use serde_json::{Map, Value, json};

use super::FloatType;
use crate::{CheckpointError, ModelConfig, RopeScaling, Rotary};

/// `config.json` as the model brought it, for weights in another type.
pub(super) fn of_folder(text: &str, stored: FloatType) -> Result<String, CheckpointError> {
    let mut config: Map<String, Value> = serde_json::from_str(text).map_err(|cause| {
        CheckpointError::new("config::malformed", "config.json cannot be read as a model's configuration")
            .caused_by(cause)
    })?;
    // What is written is plain numbers, whatever was read.
    config.remove("quantization_config");
    // transformers 5 calls it `dtype`, and both versions read the older name.
    let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    config.insert(key.to_owned(), stored.torch_name().into());
    Ok(format!("{:#}\n", Value::Object(config)))
}

/// `config.json` for a model that came in a GGUF file.
pub(super) fn of_model(config: &ModelConfig, stored: FloatType) -> Result<String, CheckpointError> {
    let mut value = json!({
        "architectures": [config.family.class()],
        "model_type": config.family.name(),
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_eps,
        "rope_theta": config.rotary.base,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": stored.torch_name(),
        "use_cache": true,
    });
    value["bos_token_id"] = config.bos_id.into();
    value["eos_token_id"] = match config.eos_ids.as_slice() {
        [only] => (*only).into(),
        several => several.into(),
    };
    if config.name.contains('/') {
        value["_name_or_path"] = config.name.as_str().into();
    }
    if let Some(scaling) = &config.rotary.scaling {
        value["rope_scaling"] = rope_scaling(scaling, config)?;
    }
    Ok(format!("{value:#}\n"))
}

fn rope_scaling(scaling: &RopeScaling, config: &ModelConfig) -> Result<Value, CheckpointError> {
    match scaling {
        RopeScaling::Linear { factor } => Ok(json!({ "rope_type": "linear", "factor": factor })),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => Ok(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_positions,
        })),
        RopeScaling::Factors(factors) => {
            let rule = llama3_of(factors, config).ok_or_else(|| {
                CheckpointError::new(
                    "config::unsupported",
                    "the rotary factors of this GGUF file are not those of Llama 3's rule, so config.json cannot hold them",
                )
                .with_help("start from the model's Hugging Face folder instead of the GGUF file")
            })?;
            rope_scaling(&rule, config)
        }
    }
}

/// Llama 3's rule with the numbers that all its models have, if it gives these factors.
fn llama3_of(factors: &[f64], config: &ModelConfig) -> Option<RopeScaling> {
    let rule = RopeScaling::Llama3 {
        factor: factors.iter().copied().fold(1.0, f64::max),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    };
    let by = |scaling: RopeScaling| Rotary { scaling: Some(scaling), ..config.rotary.clone() }.inverse_frequencies();
    let (found, wanted) = (by(rule.clone()), by(RopeScaling::Factors(factors.to_vec())));
    found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs()).then_some(rule)
}

/// `generation_config.json` for a model that came in a GGUF file.
pub(super) fn generation(config: &ModelConfig) -> String {
    let value = json!({ "bos_token_id": config.bos_id, "eos_token_id": config.eos_ids });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::{Family, config::HfConfig};

    fn config(family: Family, scaling: Option<RopeScaling>) -> ModelConfig {
        let text = format!(
            r#"{{"model_type": "{family}", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 131072,
                "rope_theta": 500000.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 5]}}"#,
        );
        let config = ModelConfig::from_json(&text).unwrap();
        ModelConfig { rotary: Rotary { scaling, ..config.rotary }, ..config }
    }

    #[test]
    fn a_written_configuration_is_read_as_it_was() {
        for scaling in [None, Some(RopeScaling::Linear { factor: 4.0 })] {
            for family in Family::ALL {
                let config = ModelConfig { name: "owner/model".into(), ..config(*family, scaling.clone()) };
                let text = of_model(&config, FloatType::Bf16).unwrap();
                assert_eq!(HfConfig::parse(&text).unwrap().lower(Some(&generation(&config))).unwrap(), config);
            }
        }
    }

    #[test]
    fn llama_3s_rule_is_found_in_its_factors() {
        let rule = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192,
        };
        let config = |scaling| config(Family::Llama, scaling);
        let stretched = config(Some(rule.clone())).rotary.inverse_frequencies();
        let factors: Vec<f64> = config(None)
            .rotary
            .inverse_frequencies()
            .iter()
            .zip(&stretched)
            .map(|(plain, stretched)| f64::from((plain / stretched) as f32))
            .collect();
        assert_eq!(llama3_of(&factors, &config(None)), Some(rule));
        let mut other = factors;
        other[1] *= 1.01;
        assert!(of_model(&config(Some(RopeScaling::Factors(other))), FloatType::F32).is_err());
    }
}
