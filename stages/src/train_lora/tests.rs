use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Event, EventSink, Settings, StageError, StageKind, StepContext};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::TrainLora;
use crate::tokens::{TokenFacts, TokenRows};

const VOCABULARY: usize = 40;
const HIDDEN: usize = 16;

/// A Llama of two small layers with pseudo-random weights; `words` names the tokens.
fn write_model(folder: &Path, words: &str) {
    fs_err::create_dir_all(folder).unwrap();
    let config = json!({"model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": VOCABULARY, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "_name_or_path": "owner/tiny"});
    fs_err::write(folder.join("config.json"), config.to_string()).unwrap();
    let vocabulary: serde_json::Map<String, Value> =
        (0..VOCABULARY).map(|id| (format!("{words}{id}"), json!(id))).collect();
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": format!("{words}0")}});
    fs_err::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let special = json!({"eos_token": format!("{words}1"), "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"});
    fs_err::write(folder.join("tokenizer_config.json"), special.to_string()).unwrap();

    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.v_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![24, HIDDEN]),
            ("mlp.up_proj", vec![24, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, 24]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut state = 1u32;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let norm = shape.len() == 1;
            let values = (0..shape.iter().product::<usize>()).flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let value = (state >> 8) as f32 / 16_777_216.0 - 0.5;
                (if norm { 1.0 + 0.2 * value } else { 0.6 * value }).to_le_bytes()
            });
            let bytes = values.collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(n, s, b)| (n.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    fs_err::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

fn token_rows(count: u32) -> TokenRows {
    let mut rows = TokenRows::default();
    for row in 0..count {
        let length = 6 + row % 5;
        let ids: Vec<u32> = (0..length).map(|i| if i < 3 { 2 + i } else { (row * 7 + i * 3) % 38 + 2 }).collect();
        rows.push(&ids, (0..length).map(|i| i >= length - 3));
    }
    rows
}

/// A model and tokens made for it.
struct Bench {
    folder: TempDir,
    inputs: BTreeMap<String, PathBuf>,
}

impl Bench {
    fn new(validation: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, tokens) = (folder.path().join("model"), folder.path().join("tokens"));
        write_model(&model, "word");
        fs_err::create_dir(&tokens).unwrap();
        let checkpoint = Checkpoint::open(&model).unwrap();
        let (tokenizer, template) = (checkpoint.tokenizer().unwrap(), checkpoint.chat_template().unwrap());
        let facts = TokenFacts::new("owner/tiny", &tokenizer, &template, 64);
        let mut parts = BTreeMap::from([("train", token_rows(21))]);
        if validation > 0 {
            parts.insert("validation", token_rows(validation));
        }
        TokenRows::write(&tokens, &parts, &facts).unwrap();
        let inputs = BTreeMap::from([("model".to_owned(), model), ("tokens".to_owned(), tokens)]);
        Self { folder, inputs }
    }

    fn run(&self, with: Value, threads: usize) -> Result<(PathBuf, Vec<Event>), StageError> {
        let kind = StageKind::of::<TrainLora>();
        let lowered = kind.lower(with, &[]).unwrap();
        assert_eq!(lowered.problems, []);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let sink = EventSink::new(move |event| seen.lock().unwrap().push(event));
        let outputs = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let scratch = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let settings = Settings { device: "cpu".into(), threads, ..Settings::default() };
        kind.run(lowered.with, &StepContext::new(self.inputs.clone(), &outputs, scratch, settings, sink))?;
        let events = events.lock().unwrap().clone();
        Ok((outputs, events))
    }
}

fn with() -> Value {
    json!({"rank": 4, "learning_rate": 0.02, "epochs": 6, "batch_size": 4, "schedule": "constant"})
}

#[test]
fn all_outputs_are_written_and_the_loss_falls() {
    let bench = Bench::new(5);
    let (outputs, events) = bench.run(with(), 2).unwrap();
    let config: Value =
        serde_json::from_str(&fs_err::read_to_string(outputs.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], "owner/tiny");
    assert_eq!(config["r"], 4);
    assert_eq!(config["lora_alpha"], 16);
    let weights = fs_err::read(outputs.join("adapter/adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&weights).unwrap();
    assert_eq!(file.len(), 2 * 2 * 7);
    let a = file.tensor("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").unwrap();
    assert_eq!(a.shape(), [4, 24]);
    let template: Value =
        serde_json::from_str(&fs_err::read_to_string(outputs.join("adapter/template.json")).unwrap()).unwrap();
    assert!(template["chat_template"].as_str().unwrap().contains("m.content"));

    let history: Vec<Value> = fs_err::read_to_string(outputs.join("history/history.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(history.len(), 6 * 6);
    assert_eq!(history.iter().filter(|row| row.get("validation_loss").is_some()).count(), 6);
    assert_eq!(history[35]["epoch"], 6.0);
    assert!(history[35]["loss"].as_f64() < history[0]["loss"].as_f64());
    for file in ["history/curve.png", "history/curve.svg", "last/adapter_model.safetensors"] {
        assert!(outputs.join(file).is_file(), "{file}");
    }
    let fact = |name: &str| events.iter().any(|event| matches!(event, Event::Fact { name: n, .. } if n == name));
    assert!(fact("train.best_step") && fact("train.tokens_per_second"));
}

#[test]
fn the_adapter_is_the_same_bit_for_bit_whatever_the_threads() {
    let bench = Bench::new(0);
    let bytes = |threads| {
        let (outputs, _) = bench.run(with(), threads).unwrap();
        let adapter = fs_err::read(outputs.join("adapter/adapter_model.safetensors")).unwrap();
        assert_eq!(adapter, fs_err::read(outputs.join("last/adapter_model.safetensors")).unwrap());
        adapter
    };
    let first = bytes(1);
    assert_eq!(first, bytes(2));
    assert_eq!(first, bytes(3));
}

#[test]
fn every_method_trains_to_the_same_bytes_whatever_the_threads() {
    let bench = Bench::new(0);
    for (name, own) in [
        ("dora", json!({"dora": true})),
        ("pissa", json!({"init": "pissa"})),
        ("gaussian and lora+", json!({"init": "gaussian", "lora_plus_ratio": 4.0, "learning_rate": 0.004})),
        ("noise and dropout", json!({"neftune_alpha": 5.0, "dropout": 0.1})),
    ] {
        let mut with = with();
        with.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let bytes = |threads| {
            let (outputs, _) = bench.run(with.clone(), threads).unwrap();
            let history = fs_err::read_to_string(outputs.join("history/history.jsonl")).unwrap();
            let losses: Vec<f64> = history
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
                .collect();
            assert!(losses[losses.len() - 1] < losses[0], "{name}");
            let config = fs_err::read_to_string(outputs.join("adapter/adapter_config.json")).unwrap();
            let config: Value = serde_json::from_str(&config).unwrap();
            assert_eq!(config["r"], if name == "pissa" { 8 } else { 4 });
            assert_eq!(config["use_dora"], name == "dora");
            fs_err::read(outputs.join("adapter/adapter_model.safetensors")).unwrap()
        };
        let one = bytes(1);
        assert_eq!(one, bytes(2), "{name}");
        assert_eq!(one, bytes(3), "{name}");
    }
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let mut bench = Bench::new(0);
    let other = bench.folder.path().join("other");
    write_model(&other, "term");
    bench.inputs.insert("model".into(), other);
    let error = bench.run(with(), 1).unwrap_err();
    assert_eq!(error.code, "train::other_tokenizer");
    assert!(error.help.is_some());
}

#[test]
fn a_diverging_training_stops_with_the_step_and_the_way_out() {
    let bench = Bench::new(0);
    // A decay of ten times the value turns it around and makes it nine times as large, step after step.
    let with =
        json!({"learning_rate": 10.0, "weight_decay": 1.0, "alpha": 100_000.0, "epochs": 50, "schedule": "constant"});
    let error = bench.run(with, 1).unwrap_err();
    assert_eq!(error.code, "train::not_finite", "{error}");
    assert!(error.message.contains("step"), "{error}");
    assert!(error.help.unwrap().contains("learning_rate"));
}

#[test]
fn parameters_that_contradict_each_other_are_named() {
    let kind = StageKind::of::<TrainLora>();
    let problems = |with: Value| kind.lower(with, &[]).unwrap().problems;
    assert!(problems(json!({"target_modules": ["q_proj"]})).is_empty());
    assert_eq!(problems(json!({"warmup_steps": 3, "warmup_ratio": 0.1}))[0].path, ["warmup_ratio"]);
    assert_eq!(problems(json!({"target_modules": "("}))[0].path, ["target_modules"]);
    assert_eq!(problems(json!({"target_modules": []}))[0].path, ["target_modules"]);
    assert_eq!(problems(json!({"dora": true, "dropout": 0.1}))[0].path, ["dora"]);
    assert_eq!(problems(json!({"dora": true, "init": "pissa"}))[0].path, ["init"]);
    assert!(kind.lower(json!({"ranks": 3}), &[]).is_err());
}

#[test]
fn weights_may_be_kept_in_bf16() {
    let bench = Bench::new(3);
    let losses = |precision: &str| -> Vec<f64> {
        let mut with = with();
        with["precision"] = json!(precision);
        let (outputs, events) = bench.run(with, 2).unwrap();
        let fact = |event: &Event| matches!(event, Event::Fact { name, .. } if name == "train.computed_by");
        assert!(events.iter().any(fact));
        let history = fs_err::read_to_string(outputs.join("history/history.jsonl")).unwrap();
        history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect()
    };
    let (exact, rounded) = (losses("f32"), losses("bf16"));
    assert_ne!(exact, rounded);
    // At this rate, rounding shows after a few steps.
    for (exact, rounded) in exact.iter().zip(&rounded).take(4) {
        assert!((exact - rounded).abs() < 0.05 * exact, "{exact} {rounded}");
    }
}
