//! GGUF files of every family, with the tensor names that gguf-py gives them (`tests/reference/gguf_names.py`), beside the
//! configuration that transformers has for the same model.

use refit_checkpoint::{Checkpoint, ModelConfig};
use serde_json::{Map, Value, json};

use crate::support::{Gguf, interleaved, refused, values};

const ARCHITECTURES: [&str; 9] = ["llama", "smollm3", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "glm4", "chatglm"];

/// `config.json` of a tiny model of an architecture, and the metadata that llama.cpp's converter makes of it.
fn model(architecture: &str) -> (ModelConfig, Gguf) {
    let mut config = json!({
        "model_type": architecture, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 20, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "head_dim": 8,
    });
    let mut file = Gguf::new();
    file.text("general.architecture", architecture).text("general.name", "Tiny");
    let key = |rest: &str| format!("{architecture}.{rest}");
    for (rest, value) in [
        ("embedding_length", 32),
        ("block_count", 1),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 8),
        ("feed_forward_length", 24),
        ("context_length", 64),
    ] {
        file.count(&key(rest), value);
    }
    file.float(&key("attention.layer_norm_rms_epsilon"), 1e-5).float(&key("rope.freq_base"), 10_000.0);
    let own = match architecture {
        "phi3" => {
            file.count(&key("attention.sliding_window"), 6).count(&key("rope.scaling.original_context_length"), 16);
            file.tensor("rope_factors_short.weight", &[4], &[1.0, 1.5, 2.0, 2.5]);
            file.tensor("rope_factors_long.weight", &[4], &[2.0, 4.0, 6.0, 8.0]);
            let factors = json!({"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5],
                "long_factor": [2.0, 4.0, 6.0, 8.0]});
            json!({"sliding_window": 6, "original_max_position_embeddings": 16, "rope_scaling": factors})
        }
        "gemma2" | "gemma3" => {
            file.count(&key("attention.sliding_window"), 6);
            if architecture == "gemma2" {
                file.float(&key("attn_logit_softcapping"), 50.0).float(&key("final_logit_softcapping"), 30.0);
            }
            let kind = if architecture == "gemma2" { "gemma2" } else { "gemma3_text" };
            json!({"model_type": kind, "sliding_window": 6, "query_pre_attn_scalar": 8, "tie_word_embeddings": true})
        }
        "glm4" => {
            file.count(&key("rope.dimension_count"), 4);
            json!({"attention_bias": true, "partial_rotary_factor": 0.5})
        }
        "chatglm" => {
            file.count(&key("rope.dimension_count"), 4);
            json!({"num_layers": 1, "kv_channels": 8, "multi_query_attention": true, "multi_query_group_num": 2,
                "ffn_hidden_size": 24, "padded_vocab_size": 20, "seq_length": 64, "add_qkv_bias": true})
        }
        _ => json!({}),
    };
    config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    (ModelConfig::from_json(&config.to_string()).unwrap(), file)
}

fn names(architecture: &str) -> Map<String, Value> {
    let all: Value = serde_json::from_str(include_str!("../reference/gguf_names.json")).unwrap();
    all[architecture].as_object().unwrap().clone()
}

/// What the converter writes for a tensor: the rows of q and k reordered for some, 1 added to the norms of others.
fn converted(architecture: &str, config: &ModelConfig, name: &str, shape: &[usize]) -> Vec<f32> {
    let mut numbers = values(name, shape);
    if ["llama", "smollm3"].contains(&architecture) {
        if name.contains("q_proj") {
            numbers = interleaved(&numbers, shape[0], config.heads);
        } else if name.contains("k_proj") {
            numbers = interleaved(&numbers, shape[0], config.kv_heads);
        }
    }
    if architecture.starts_with("gemma") && name.contains("norm") {
        for value in &mut numbers {
            *value += 1.0;
        }
    }
    numbers
}

#[test]
fn a_gguf_file_of_every_family_is_the_model_that_transformers_has() {
    for architecture in ARCHITECTURES {
        let (config, mut file) = model(architecture);
        let names = names(architecture);
        for (name, shape) in config.tensors() {
            let (part, suffix) = name.rsplit_once('.').unwrap();
            let gguf = names[part].as_str().unwrap();
            let numbers = converted(architecture, &config, &name, &shape);
            file.tensor(&format!("{gguf}.{suffix}"), &shape, &numbers);
        }
        let (_guard, path) = file.write();
        let found = Checkpoint::open(&path).unwrap();
        let known = ModelConfig {
            name: config.name.clone(),
            bos_id: config.bos_id,
            eos_ids: config.eos_ids.clone(),
            ..found.config().clone()
        };
        assert_eq!(known, config, "{architecture}");
        for (name, shape) in config.tensors() {
            let (tensor, expected) = (found.tensor(&name).unwrap(), values(&name, &shape));
            let off = tensor.values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-6 && tensor.shape == shape, "{architecture}: {name} is off by {off}");
        }
    }
}

#[test]
fn what_a_family_does_not_have_is_refused_by_its_key() {
    let refused_key = |architecture: &str, key: &str, value: Value| {
        let config = json!({"model_type": architecture, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 24, "vocab_size": 20, "num_layers": 2,
            "ffn_hidden_size": 24, "padded_vocab_size": 20, key: value});
        let error = ModelConfig::from_json(&config.to_string()).unwrap_err();
        assert!(error.message().contains(key), "{}", error.message());
    };
    refused_key("smollm3", "use_sliding_window", json!(true));
    refused_key("smollm3", "no_rope_layers", json!([1]));
    refused_key("gemma3_text", "use_bidirectional_attention", json!(true));
    refused_key("gemma3_text", "layer_types", json!(["full_attention"]));
    refused_key("gemma2", "layer_types", json!(["full_attention", "chunked_attention"]));
    refused_key("chatglm", "rmsnorm", json!(false));
    refused_key("chatglm", "pre_seq_len", json!(128));
    refused_key("phi3", "resid_pdrop", json!(0.1));
    refused_key("qwen3", "hidden_act", json!("relu"));
}

/// llama.cpp keeps the parts of `W_pack` apart, and knows by the layers how positions enter.
#[test]
fn the_parts_of_baichuans_queries_keys_and_values_are_put_together() {
    let baichuan = |layers: usize, rows_of_q: usize| {
        let mut file = Gguf::new();
        file.text("general.architecture", "baichuan").float("baichuan.attention.layer_norm_rms_epsilon", 1e-5);
        for (key, value) in [
            ("embedding_length", 32),
            ("block_count", layers as u32),
            ("attention.head_count", 4),
            ("feed_forward_length", 24),
            ("context_length", 64),
        ] {
            file.count(&format!("baichuan.{key}"), value);
        }
        let mut tensor = |name: &str, shape: &[usize]| _ = file.tensor(name, shape, &values(name, shape));
        for (name, rows) in [("token_embd", 20), ("output", 20)] {
            tensor(&format!("{name}.weight"), &[rows, 32]);
        }
        tensor("output_norm.weight", &[32]);
        for layer in 0..layers {
            for norm in ["attn_norm", "ffn_norm"] {
                tensor(&format!("blk.{layer}.{norm}.weight"), &[32]);
            }
            for (name, shape) in [
                ("attn_q", [rows_of_q, 32]),
                ("attn_k", [64 - rows_of_q, 32]),
                ("attn_v", [32, 32]),
                ("attn_output", [32, 32]),
                ("ffn_gate", [24, 32]),
                ("ffn_up", [24, 32]),
                ("ffn_down", [32, 24]),
            ] {
                tensor(&format!("blk.{layer}.{name}.weight"), &shape);
            }
        }
        file.write()
    };
    for (layers, turns) in [(32, true), (40, false)] {
        let (_guard, path) = baichuan(layers, 32);
        let found = Checkpoint::open(&path).unwrap();
        let config = found.config();
        assert_eq!((config.layer_forms[0].rotary.is_some(), config.attention.slopes.is_none()), (turns, turns));
        let packed = found.tensor("model.layers.1.self_attn.W_pack.weight").unwrap();
        assert_eq!(packed.shape, [96, 32]);
        for (part, rows) in ["attn_q", "attn_k"].iter().zip(packed.values.chunks(32 * 32)) {
            assert_eq!(interleaved(rows, 32, 4), values(&format!("blk.1.{part}.weight"), &[32, 32]), "{part}");
        }
        assert_eq!(packed.values[2 * 32 * 32..], values("blk.1.attn_v.weight", &[32, 32]));
    }
    let (_guard, path) = baichuan(2, 32);
    assert_eq!(refused(&path).code(), "config::unsupported");
    let (_guard, path) = baichuan(32, 16);
    assert_eq!(refused(&path).code(), "weights::wrong_shape");
}
