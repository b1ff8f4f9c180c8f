use std::path::Path;

use refit_checkpoint::Checkpoint;
use refit_engine::stage::StageKind;
use serde_json::{Value, json};

use super::TrainFull;
use crate::{
    tokens::TokenRows,
    training::bench::{Bench, token_rows},
};

fn with(own: &Value) -> Value {
    let mut with = json!({"learning_rate": 0.01, "epochs": 4, "batch_size": 4, "schedule": "constant"});
    with.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    with
}

fn losses(outputs: &Path) -> Vec<f64> {
    let history = fs_err::read_to_string(outputs.join("history/history.jsonl")).unwrap();
    history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect()
}

fn weights(folder: &Path) -> Vec<u8> {
    fs_err::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_model_is_written_that_opens_and_the_bytes_do_not_depend_on_threads() {
    let bench = Bench::new(token_rows(21), token_rows(3));
    let run = |threads| bench.run::<TrainFull>(with(&json!({})), threads).unwrap().outputs;
    let outputs = run(1);
    let losses = losses(&outputs);
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "{losses:?}");
    for file in ["model/config.json", "model/tokenizer.json", "history/curve.png", "history/curve.svg"] {
        assert!(outputs.join(file).is_file(), "{file}");
    }
    let model = Checkpoint::open(&outputs.join("model")).unwrap();
    let before = Checkpoint::open(&bench.inputs["model"]).unwrap();
    for name in ["model.embed_tokens.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight"] {
        let (now, then) = (model.tensor(name).unwrap(), before.tensor(name).unwrap());
        assert_eq!(now.shape, then.shape);
        assert_ne!(now.values, then.values, "{name}");
    }
    for threads in [2, 3] {
        assert_eq!(weights(&outputs.join("model")), weights(&run(threads).join("model")), "{threads} threads");
    }
}

#[test]
fn chosen_weights_alone_change() {
    let bench = Bench::new(token_rows(21), TokenRows::default());
    let own = json!({"train": ["norm", r"layers\.1\.mlp\.down"], "stored_as": "bf16"});
    let outputs = bench.run::<TrainFull>(with(&own), 2).unwrap().outputs;
    let now = Checkpoint::open(&outputs.join("model")).unwrap();
    let then = Checkpoint::open(&bench.inputs["model"]).unwrap();
    // To the nearest of 8 binary digits, ties to even.
    let rounded = |value: &f32| {
        let bits = value.to_bits();
        f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    };
    for name in [
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.self_attn.q_proj.weight",
    ] {
        let changed = name.contains("norm") || name.contains("layers.1.mlp.down_proj");
        let kept: Vec<f32> = then.tensor(name).unwrap().values.iter().map(rounded).collect();
        assert_eq!(now.tensor(name).unwrap().values != kept, changed, "{name}");
    }
}

#[test]
fn parameters_that_choose_nothing_or_contradict_each_other_are_named() {
    let kind = StageKind::of::<TrainFull>();
    let problems = |with: Value| kind.lower(with, &[]).unwrap().problems;
    assert!(problems(json!({"train": "all"})).is_empty());
    assert_eq!(problems(json!({"warmup_steps": 3, "warmup_ratio": 0.1}))[0].path, ["warmup_ratio"]);
    assert_eq!(problems(json!({"train": ["("]}))[0].path, ["train"]);
    assert_eq!(problems(json!({"train": []}))[0].path, ["train"]);
    let error = Bench::new(token_rows(21), TokenRows::default())
        .run::<TrainFull>(with(&json!({"train": ["lm_head"]})), 1)
        .err()
        .unwrap();
    assert_eq!(error.code, "train::no_weight");
    assert!(error.help.unwrap().contains("model.norm.weight"));
}

#[test]
fn blocks_computed_again_give_the_same_bytes() {
    let bench = Bench::new(token_rows(21), TokenRows::default());
    let run = |checkpointing| {
        let own = json!({"gradient_checkpointing": checkpointing, "neftune_alpha": 5.0});
        weights(&bench.run::<TrainFull>(with(&own), 2).unwrap().outputs.join("model"))
    };
    assert_eq!(run(false), run(true));
}
