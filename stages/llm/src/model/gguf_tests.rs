//! GGUF files of every family: written, read back, and held against the model they were made of, here and by gguf-py and
//! transformers (`tests/reference/gguf_files.py`).

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says why it is skipped")]

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::Command,
};

use refit_checkpoint::{Checkpoint, FloatType, GgufLora, GgufType, HostTensor, LoraMatrix, write_safetensors};
use serde_json::{Map, Value, json};

use super::{Answers, Quantization, Row, WeightForm};
use crate::{
    Device, Model,
    reference::{FamilyReference, family_weight, learnable_rows},
    train::{NamedRow, Weights, Workers, accumulate},
};

/// The configurations of `families.json` and of the two families that have a file of their own, with sizes that fill blocks and
/// in forms that llama.cpp has.
pub(super) fn configs() -> BTreeMap<String, Value> {
    let text = include_str!("../../tests/reference/families.json");
    let mut configs: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    let plain = json!({"head_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 24, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 100.0, "bos_token_id": 1,
        "eos_token_id": [2, 3]});
    let with = |own: Value| Value::Object(merged(plain.as_object().unwrap(), own));
    let scaling = json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16});
    configs.insert("llama".into(), with(json!({"model_type": "llama", "rope_scaling": scaling})));
    configs.insert("qwen2".into(), with(json!({"model_type": "qwen2", "tie_word_embeddings": true})));
    for (name, config) in &mut configs {
        let mut own = json!({"hidden_size": 64, "intermediate_size": 96, "ffn_hidden_size": 96, "kv_channels": 16});
        for (key, value) in [("head_dim", 16), ("query_pre_attn_scalar", 16)] {
            if config.get(key).is_some() {
                own[key] = value.into();
            }
        }
        match name.as_str() {
            "baichuan" | "baichuan2" => own["num_hidden_layers"] = 32.into(),
            "baichuan.13b" => own["num_hidden_layers"] = 40.into(),
            "smollm3" => {
                own["num_hidden_layers"] = 4.into();
                own["no_rope_layers"] = json!([1, 1, 1, 0]);
                own["layer_types"] = ["full_attention"; 4].as_slice().into();
            }
            "mistral" => own["sliding_window"] = 32.into(),
            "phi3" => {
                own["sliding_window"] = 32.into();
                let mut rope = config["rope_parameters"].clone();
                rope["short_factor"] = json!([1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0]);
                rope["long_factor"] = json!([2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
                own["rope_parameters"] = rope;
            }
            _ => {}
        }
        *config = Value::Object(merged(config.as_object().unwrap(), own));
    }
    configs
}

fn merged(base: &Map<String, Value>, own: Value) -> Map<String, Value> {
    let Value::Object(own) = own else { unreachable!("an object was given") };
    base.clone().into_iter().chain(own).collect()
}

/// The model as a folder: weights by the formula that all family tests have, a vocabulary of single letters.
pub(super) fn write_folder(folder: &Path, config: &Value) -> Checkpoint {
    let write = |name: &str, value: &Value| fs_err::write(folder.join(name), value.to_string()).unwrap();
    write("config.json", config);
    let vocabulary: Map<String, Value> = (0..24u8).map(|id| (char::from(b'a' + id).to_string(), id.into())).collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    write(
        "tokenizer.json",
        &json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": level, "post_processor": null, "decoder": level, "model": {"type": "BPE", "dropout": null,
            "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false,
            "byte_fallback": false, "vocab": vocabulary, "merges": []}}),
    );
    let parsed = refit_checkpoint::ModelConfig::from_json(&config.to_string()).unwrap();
    let tensors: Vec<_> = parsed.tensors().collect();
    let shapes: HashMap<&str, &Vec<usize>> = tensors.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    write_safetensors(&folder.join("model.safetensors"), &tensors, FloatType::F32, |name| {
        // Four times the width of the tiny models: half their spread keeps the scores in the same range.
        let weight = family_weight(&parsed, name, shapes[name].clone());
        let halved = weight.shape.len() > 1;
        let values = weight.values.into_iter().map(|value| if halved { value * 0.5 } else { value }).collect();
        Ok::<_, refit_checkpoint::CheckpointError>(HostTensor { values, ..weight })
    })
    .unwrap();
    Checkpoint::open(folder).unwrap()
}

pub(super) fn load(checkpoint: &Checkpoint) -> Model {
    let form = WeightForm { quantization: Quantization::Keep, ..WeightForm::default() };
    Model::load_as(checkpoint, &Device::flex(), form).unwrap()
}

fn written(source: &Checkpoint, folder: &Path, kept: GgufType) -> Checkpoint {
    let path = folder.join(format!("{kept:?}.gguf").to_lowercase().replace(['(', ')'], ""));
    source.write_gguf(&path, kept, |name| source.tensor(name)).unwrap();
    Checkpoint::open(&path).unwrap()
}

/// Loss and gradient of a LoRA adapter on some rows.
fn gradient(model: &Model) -> (f64, Vec<f32>) {
    let adapter = FamilyReference::adapter(model);
    let rows = learnable_rows(3);
    let named: Vec<NamedRow<'_>> = rows
        .iter()
        .enumerate()
        .map(|(index, (ids, mask))| NamedRow { row: Row { ids, mask }, index, name: 0 })
        .collect();
    let mut total = vec![0f32; adapter.values.len()];
    let randomness = super::Randomness { seed: 0, dropout: 0.0, neftune_alpha: 0.0 };
    let weights = Weights::Every(1.0);
    let found = accumulate(model, &adapter, &named, weights, randomness, &mut Workers::new(1), &mut total).unwrap();
    (found.loss.sum, total)
}

#[test]
fn a_gguf_file_of_every_family_answers_and_trains_as_its_folder() {
    for (name, config) in configs() {
        let folder = tempfile::tempdir().unwrap();
        let source = write_folder(folder.path(), &config);
        source.check_gguf().unwrap();
        let model = load(&source);
        let answers = Answers::of(&model, &FamilyReference::prompts(), 8).unwrap();
        // The bounds that `export` holds its files against.
        for (kept, bound) in [
            (GgufType::Float(FloatType::F32), 1e-3),
            (GgufType::Float(FloatType::F16), 1e-2),
            (GgufType::Q8_0, 0.15),
            (GgufType::Q4_0, 1.0),
        ] {
            let found = written(&source, folder.path(), kept);
            assert_eq!(found.config().eos_ids, source.config().eos_ids, "{name}");
            let other = load(&found);
            let agreement = answers.compare(&other).unwrap();
            assert!(agreement.difference < bound, "{name} as {kept:?}: {agreement:?}");
            if kept == GgufType::Float(FloatType::F32) {
                let ((loss, slopes), (expected, expected_slopes)) = (gradient(&other), gradient(&model));
                assert!((loss - expected).abs() < 1e-4 * expected, "{name}: {loss} and {expected}");
                let size = expected_slopes.iter().fold(0f32, |most, slope| most.max(slope.abs()));
                let off = slopes.iter().zip(&expected_slopes).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(slopes.len() == expected_slopes.len() && off < 1e-3 * size, "{name}: {off} of {size}");
            } else if kept == GgufType::Q8_0 {
                assert_eq!(found.block_format(), Some(refit_checkpoint::BlockFormat::Q8_0), "{name}");
                let (loss, slopes) = gradient(&other);
                assert!(loss.is_finite() && slopes.iter().all(|slope| slope.is_finite()), "{name}");
            }
            // A GGUF file becomes another one, which says the same.
            let again = folder.path().join("again.gguf");
            found.write_gguf(&again, kept, |name| found.tensor(name)).unwrap();
            let again = answers.compare(&load(&Checkpoint::open(&again).unwrap())).unwrap();
            assert!((again.difference - agreement.difference).abs() < 1e-3, "{name} as {kept:?}: {again:?}");
        }
    }
}

#[test]
fn a_window_that_llama_cpp_does_not_apply_is_a_shorter_context() {
    for name in ["mistral", "phi3"] {
        let folder = tempfile::tempdir().unwrap();
        let source = write_folder(folder.path(), &configs()[name]);
        let found = written(&source, folder.path(), GgufType::Float(FloatType::F32));
        assert_eq!((source.config().max_positions, found.config().max_positions), (64, 32), "{name}");
    }
}

#[test]
fn what_llama_cpp_computes_otherwise_is_refused_by_name() {
    let refused = |name: &str, own: Value, named: &str| {
        let folder = tempfile::tempdir().unwrap();
        let config = Value::Object(merged(configs()[name].as_object().unwrap(), own));
        let error = write_folder(folder.path(), &config).check_gguf().unwrap_err();
        assert_eq!(error.code(), "write::no_gguf_form");
        let family = config["model_type"].as_str().unwrap();
        assert!(error.message().contains(named) && error.message().contains(family), "{}", error.message());
        assert!(error.help().unwrap().contains("format: huggingface"), "{:?}", error.help());
    };
    refused("baichuan", json!({"num_hidden_layers": 2}), "2 layers");
    refused("smollm3", json!({"no_rope_layers": [1, 0, 1, 0]}), "every fourth");
    refused("gemma2", json!({"query_pre_attn_scalar": 10}), "query_pre_attn_scalar");
    refused("gemma2", json!({"attn_logit_softcapping": null}), "capped");
    refused("gemma2", json!({"tie_word_embeddings": false}), "head is not the embedding");
    let layers = ["full_attention", "sliding_attention"];
    refused("gemma3", json!({"layer_types": layers}), "no regular interval");
    refused("llama", json!({"partial_rotary_factor": 0.5}), "a part of each head");
    refused("chatglm", json!({"kv_channels": 8}), "not as wide");
    let scaling = json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16});
    refused("qwen2", json!({"rope_scaling": scaling}), "stretches");
    refused("llama", json!({"hidden_act": "gelu_pytorch_tanh"}), "activation");
}

#[test]
fn an_adapter_of_fused_layers_becomes_one_of_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_folder(folder.path(), &configs()["baichuan"]);
    let adapter = FamilyReference::adapter(&load(&source));
    let matrices = adapter.modules().flat_map(|module| [(module.a, LoraMatrix::A), (module.b, LoraMatrix::B)]);
    let matrices: Vec<_> = matrices
        .map(|(tensor, matrix)| {
            let values = adapter.values[tensor.range()].to_vec();
            (format!("{}.weight", tensor.path), matrix, HostTensor { shape: tensor.shape.to_vec(), values })
        })
        .collect();
    let lora = GgufLora { model: source.config(), alpha: 6.0, matrices };
    let path = folder.path().join("lora.gguf");
    lora.write(&path, FloatType::F32).unwrap();
    let found = lora.read(&path).unwrap();
    assert!(found.iter().zip(&lora.matrices).all(|(found, (_, _, expected))| found == expected));
    let bytes = fs_err::read(&path).unwrap();
    let holds = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(["q", "k", "v"].iter().all(|part| holds(&format!("blk.0.attn_{part}.weight.lora_b"))));
    assert!(!holds("attn_qkv"));
}

#[test]
fn gguf_py_and_transformers_read_the_same_model() {
    let Some(peers) = std::env::var_os("REFIT_PEERS").map(std::path::PathBuf::from) else {
        eprintln!("skipped: REFIT_PEERS is not set (see tests/peers/setup.py)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, config) in configs() {
        let place = folder.path().join(&name);
        fs_err::create_dir_all(&place).unwrap();
        let source = write_folder(&place, &config);
        let path = place.join("model.gguf");
        source.write_gguf(&path, GgufType::Float(FloatType::F32), |name| source.tensor(name)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/gguf_files.py");
    let output = Command::new(peers.join("venv/bin/python")).arg(script).arg(folder.path()).output().unwrap();
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{failed}");
    let found: BTreeMap<String, Value> = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), configs().keys().collect::<Vec<_>>());
    for (name, found) in found {
        assert!(found["weights"].as_f64().unwrap() < 1e-6, "{name}: {found}");
        let logits = found["logits"].as_f64();
        let known = ["llama", "qwen2", "qwen3", "phi3", "phi3.partial", "gemma2", "gemma3"];
        assert!(
            logits.is_some() == known.contains(&name.as_str()) && logits.is_none_or(|off| off < 1e-4),
            "{name}: {found}"
        );
    }
}
