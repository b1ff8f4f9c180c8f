use serde_json::{Map, Value, json};

use super::FloatType;
use crate::{Activation, CheckpointError, ModelConfig, RopeScaling, Rotary};

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
        "hidden_act": match config.activation {
            Activation::Silu => "silu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        },
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
    // The last form of a period is that of most: layers that see everything, with positions where others have none.
    let rotaries = config.layer_forms.iter().rev().filter_map(|form| form.rotary.as_ref());
    if let Some(rotary) = rotaries.into_iter().next() {
        value["rope_theta"] = rotary.base.into();
        if let Some(scaling) = &rotary.scaling {
            value["rope_scaling"] = rope_scaling(scaling, rotary)?;
        }
    }
    if let (Value::Object(keys), Value::Object(own)) = (&mut value, config.family.own_keys(config)) {
        keys.extend(own);
    }
    Ok(format!("{value:#}\n"))
}

fn rope_scaling(scaling: &RopeScaling, rotary: &Rotary) -> Result<Value, CheckpointError> {
    match scaling {
        RopeScaling::Linear { factor } => Ok(json!({ "rope_type": "linear", "factor": factor })),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => Ok(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_positions,
        })),
        RopeScaling::LongRope { short, long, original_max_positions, magnitude } => Ok(json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": magnitude,
            "original_max_position_embeddings": original_max_positions,
        })),
        RopeScaling::Factors(factors) => {
            let rule = llama3_of(factors, rotary).ok_or_else(|| {
                CheckpointError::new(
                    "config::unsupported",
                    "the rotary factors of this GGUF file are not those of Llama 3's rule, so config.json cannot hold them",
                )
                .with_help("start from the model's Hugging Face folder instead of the GGUF file")
            })?;
            rope_scaling(&rule, rotary)
        }
    }
}

/// Llama 3's rule with the numbers that all its models have, if it gives these factors.
fn llama3_of(factors: &[f64], rotary: &Rotary) -> Option<RopeScaling> {
    let rule = RopeScaling::Llama3 {
        factor: factors.iter().copied().fold(1.0, f64::max),
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 8192,
    };
    let by = |scaling: RopeScaling| Rotary { scaling: Some(scaling), ..rotary.clone() }.inverse_frequencies(1);
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
            r#"{{"model_type": "{family}", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4,
                "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 131072,
                "rope_theta": 500000.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 5],
                "num_layers": 8, "ffn_hidden_size": 96, "padded_vocab_size": 100, "add_qkv_bias": true,
                "query_pre_attn_scalar": 16, "multi_query_attention": true, "multi_query_group_num": 2,
                "head_dim": 16}}"#
        );
        let mut config = ModelConfig::from_json(&text).unwrap();
        if let Some(rotary) = config.layer_forms.last_mut().and_then(|form| form.rotary.as_mut()) {
            rotary.scaling = scaling;
        }
        config
    }

    #[test]
    fn a_written_configuration_is_read_as_it_was() {
        for family in Family::ALL {
            let mut config = config(*family, None);
            config.name = "owner/model".into();
            let text = of_model(&config, FloatType::Bf16).unwrap();
            assert_eq!(HfConfig::parse(&text).unwrap().lower(Some(&generation(&config))).unwrap(), config, "{family}");
        }
        let longrope = RopeScaling::LongRope {
            short: vec![1.0; 8],
            long: vec![2.0; 8],
            original_max_positions: 4096,
            magnitude: 1.25,
        };
        for (family, scaling) in [(Family::Llama, RopeScaling::Linear { factor: 4.0 }), (Family::Phi3, longrope)] {
            let mut config = config(family, Some(scaling));
            config.name = "owner/model".into();
            let text = of_model(&config, FloatType::Bf16).unwrap();
            assert_eq!(HfConfig::parse(&text).unwrap().lower(Some(&generation(&config))).unwrap(), config, "{family}");
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
        let rotary = |scaling| config(Family::Llama, scaling).layer_form(0).rotary.clone().unwrap();
        let stretched = rotary(Some(rule.clone())).inverse_frequencies(1);
        let factors: Vec<f64> = rotary(None)
            .inverse_frequencies(1)
            .iter()
            .zip(&stretched)
            .map(|(plain, stretched)| f64::from((plain / stretched) as f32))
            .collect();
        assert_eq!(llama3_of(&factors, &rotary(None)), Some(rule));
        let mut other = factors;
        other[1] *= 1.01;
        assert!(of_model(&config(Family::Llama, Some(RopeScaling::Factors(other))), FloatType::F32).is_err());
    }
}
