use refit_checkpoint::{CheckpointError, FloatType, HostTensor, ModelConfig, write_safetensors};
use refit_engine::stage::{Event, StageKind};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use super::TrainLora;
use crate::{
    tokens::TokenRows,
    training::bench::{Bench, VOCABULARY, token_pairs, token_rows, write_model},
};

fn bench(validation: u32) -> Bench {
    Bench::new(token_rows(21), token_rows(validation))
}

fn with() -> Value {
    json!({"rank": 4, "learning_rate": 0.02, "epochs": 6, "batch_size": 4, "schedule": "constant"})
}

#[test]
fn all_outputs_are_written_and_the_loss_falls() {
    let bench = bench(5);
    let outcome = bench.run::<TrainLora>(with(), 2).unwrap();
    let outputs = &outcome.outputs;
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

    let history = outcome.history();
    assert_eq!(history.len(), 6 * 6);
    assert_eq!(history.iter().filter(|row| row.get("validation_loss").is_some()).count(), 6);
    assert_eq!(history[35]["epoch"], 6.0);
    assert!(history[35]["loss"].as_f64() < history[0]["loss"].as_f64());
    for file in ["history/curve.png", "history/curve.svg", "last/adapter_model.safetensors"] {
        assert!(outputs.join(file).is_file(), "{file}");
    }
    assert!(outcome.fact("train.best_step").is_some() && outcome.fact("train.tokens_per_second").is_some());
}

/// Names and shapes of weights differ from family to family.
#[test]
fn a_model_of_every_family_is_trained() {
    let configs = include_str!("../../llm/tests/reference/families.json");
    for (name, mut config) in serde_json::from_str::<Map<String, Value>>(configs).unwrap() {
        for size in ["vocab_size", "padded_vocab_size"] {
            config.as_object_mut().unwrap().entry(size).and_modify(|size| *size = VOCABULARY.into());
        }
        let bench = Bench::of_model(token_rows(24), token_rows(3), |model| {
            fs_err::write(model.join("config.json"), config.to_string()).unwrap();
            let config = ModelConfig::from_json(&config.to_string()).unwrap();
            let tensors: Vec<_> = config.tensors().collect();
            let mut index = 0;
            write_safetensors(&model.join("model.safetensors"), &tensors, FloatType::F32, |_| {
                let (name, shape) = tensors[index].clone();
                index += 1;
                let wave = |at: usize| (at as f32 * 0.7 + index as f32).sin();
                let (around, by) = if name.contains("norm") { (1.0, 0.1) } else { (0.0, 0.3) };
                let values = (0..shape.iter().product()).map(|at| around + by * wave(at)).collect();
                Ok::<_, CheckpointError>(HostTensor { shape, values })
            })
            .unwrap();
        });
        let history = bench.run::<TrainLora>(with(), 2).unwrap().history();
        let loss = |row: &Value| row["loss"].as_f64().unwrap();
        let (first, last) = (&history[0], &history[history.len() - 1]);
        assert!(loss(last) < 0.9 * loss(first), "{name}: {first} to {last}");
    }
}

#[test]
fn the_adapter_is_the_same_bit_for_bit_whatever_the_threads() {
    let bench = bench(0);
    let bytes = |threads| {
        let outcome = bench.run::<TrainLora>(with(), threads).unwrap();
        assert_eq!(outcome.adapter(), fs_err::read(outcome.outputs.join("last/adapter_model.safetensors")).unwrap());
        outcome.adapter()
    };
    let first = bytes(1);
    assert_eq!(first, bytes(2));
    assert_eq!(first, bytes(3));
}

#[test]
fn every_method_trains_to_the_same_bytes_whatever_the_threads() {
    let bench = bench(0);
    for (name, own) in [
        ("dora", json!({"dora": true})),
        ("pissa", json!({"init": "pissa"})),
        ("gaussian and lora+", json!({"init": "gaussian", "lora_plus_ratio": 4.0, "learning_rate": 0.004})),
        ("noise and dropout", json!({"neftune_alpha": 5.0, "dropout": 0.1})),
    ] {
        let mut with = with();
        with.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let bytes = |threads| {
            let outcome = bench.run::<TrainLora>(with.clone(), threads).unwrap();
            let losses: Vec<f64> = outcome.history().iter().map(|row| row["loss"].as_f64().unwrap()).collect();
            assert!(losses[losses.len() - 1] < losses[0], "{name}");
            let config = fs_err::read_to_string(outcome.outputs.join("adapter/adapter_config.json")).unwrap();
            let config: Value = serde_json::from_str(&config).unwrap();
            assert_eq!(config["r"], if name == "pissa" { 8 } else { 4 });
            assert_eq!(config["use_dora"], name == "dora");
            outcome.adapter()
        };
        let one = bytes(1);
        assert_eq!(one, bytes(2), "{name}");
        assert_eq!(one, bytes(3), "{name}");
    }
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let mut bench = bench(0);
    let other = bench.folder.path().join("other");
    write_model(&other, "term");
    bench.inputs.insert("model".into(), other);
    let error = bench.run::<TrainLora>(with(), 1).err().unwrap();
    assert_eq!(error.code, "train::other_tokenizer");
    assert!(error.help.is_some());
}

#[test]
fn a_diverging_training_stops_with_the_step_and_the_way_out() {
    let bench = bench(0);
    // A decay of ten times the value turns it around and makes it nine times as large, step after step.
    let with =
        json!({"learning_rate": 10.0, "weight_decay": 1.0, "alpha": 100_000.0, "epochs": 50, "schedule": "constant"});
    let error = bench.run::<TrainLora>(with, 1).err().unwrap();
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
    let bench = bench(3);
    let losses = |precision: &str| -> Vec<f64> {
        let mut with = with();
        with["precision"] = json!(precision);
        let outcome = bench.run::<TrainLora>(with, 2).unwrap();
        assert!(outcome.fact("train.computed_by").is_some());
        outcome.history().iter().map(|row| row["loss"].as_f64().unwrap()).collect()
    };
    let (exact, rounded) = (losses("f32"), losses("bf16"));
    assert_ne!(exact, rounded);
    // At this rate, rounding shows after a few steps.
    for (exact, rounded) in exact.iter().zip(&rounded).take(4) {
        assert!((exact - rounded).abs() < 0.05 * exact, "{exact} {rounded}");
    }
}

#[test]
fn of_preferences_the_desired_answers_are_learnt() {
    let bench = Bench::new(token_pairs(6), TokenRows::default());
    let outcome = bench.run::<TrainLora>(with(), 1).unwrap();
    assert_eq!(outcome.fact("train.rows_left_out"), Some(json!(6)));
    assert!(
        outcome.events.iter().any(|event| matches!(event, Event::Warning { message } if message.contains("6 rows")))
    );
    let mut chosen = TokenRows::default();
    let tokens = crate::tokens::Tokens::open(&bench.inputs["tokens"]).unwrap();
    for (ids, mask) in tokens.part("train").unwrap().iter().step_by(2) {
        chosen.push(ids, mask.iter().map(|target| *target == 1));
    }
    let alone = Bench::new(chosen, TokenRows::default());
    assert_eq!(outcome.adapter(), alone.run::<TrainLora>(with(), 1).unwrap().adapter());
}

#[test]
fn blocks_computed_again_give_the_same_bytes() {
    let bench = bench(5);
    let mut with = with();
    let plain = bench.run::<TrainLora>(with.clone(), 2).unwrap();
    assert_eq!(plain.fact("train.gradient_checkpointing"), Some(json!(false)));
    with["gradient_checkpointing"] = json!(true);
    let again = bench.run::<TrainLora>(with.clone(), 2).unwrap();
    assert_eq!(again.fact("train.gradient_checkpointing"), Some(json!(true)));
    assert_eq!(plain.adapter(), again.adapter());
}

#[test]
fn what_saves_memory_is_in_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yaml");
    let node = |with: &str| {
        let text = format!(
            "name: a\nsources: {{ base: base, tokens: tokens }}\nstages:\n  train: {{ uses: train-lora, inputs: {{ model: base, tokens: tokens }}, with: {with} }}\n"
        );
        fs_err::write(&file, text).unwrap();
        for name in ["base", "tokens"] {
            fs_err::create_dir_all(folder.path().join(name)).unwrap();
        }
        let pipeline = refit_engine::graph::load(&file, &[], &crate::registry()).unwrap();
        pipeline.stages.stages().next().unwrap().clone()
    };
    let (plain, saving) = (node("{ rank: 4 }"), node("{ rank: 4, gradient_checkpointing: true }"));
    assert_eq!(plain.with, saving.with);
    assert!(plain.with.get("gradient_checkpointing").is_none());
    assert_eq!(saving.params()["gradient_checkpointing"], json!(true));
    assert_eq!(plain.params()["gradient_checkpointing"], json!(false));
}
