use refit_checkpoint::Checkpoint;
use refit_engine::stage::{Event, StageKind};
use refit_llm::{adapter::AnyAdapter, bottleneck::NonLinearity};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::TrainAdapter;
use crate::{
    evaluate::Evaluate,
    export::Export,
    merge::Merge,
    tokens::TokenRows,
    train_preference::TrainPreference,
    training::bench::{Bench, Outcome, token_pairs, token_rows},
};

const KINDS: [&str; 3] = ["houlsby", "pfeiffer", "parallel"];

fn bench(validation: u32) -> Bench {
    Bench::new(token_rows(21), token_rows(validation))
}

fn with(own: &Value) -> Value {
    let mut with =
        json!({"reduction_factor": 4, "learning_rate": 0.02, "epochs": 6, "batch_size": 4, "schedule": "constant"});
    with.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    with
}

fn weights(outcome: &Outcome, output: &str) -> Vec<u8> {
    fs_err::read(outcome.outputs.join(output).join("adapter.safetensors")).unwrap()
}

fn settings(outcome: &Outcome) -> Value {
    let text = fs_err::read_to_string(outcome.outputs.join("adapter/adapter_config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn all_outputs_are_written_and_the_loss_falls() {
    let bench = bench(5);
    for (kind, tensors) in KINDS.into_iter().zip([2 * 2 * 4, 2 * 4, 2 * 4]) {
        let outcome = bench.run::<TrainAdapter>(with(&json!({"kind": kind})), 2).unwrap();
        let bytes = weights(&outcome, "adapter");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), tensors, "{kind}");
        let down = file.tensor("model.layers.1.output_adapters.adapters.refit.adapter_down.0.weight").unwrap();
        assert_eq!(down.shape(), [4, 16]);
        assert_eq!(settings(&outcome)["model_name"], "owner/tiny");
        let template = fs_err::read_to_string(outcome.outputs.join("adapter/template.json")).unwrap();
        assert!(template.contains("m.content"));

        let history = outcome.history();
        assert_eq!(history.len(), 6 * 6);
        assert_eq!(history.iter().filter(|row| row.get("validation_loss").is_some()).count(), 6);
        assert!(history[35]["loss"].as_f64() < history[0]["loss"].as_f64(), "{kind}");
        for file in ["history/curve.png", "history/curve.svg", "last/adapter.safetensors", "last/adapter_config.json"] {
            assert!(outcome.outputs.join(file).is_file(), "{file}");
        }
        assert!(outcome.fact("train.best_step").is_some() && outcome.fact("train.tokens_per_second").is_some());
        assert!(outcome.fact("train.computed_by").unwrap().as_str().unwrap().contains("fused kernels"));
        assert_eq!(outcome.fact("train.bottleneck"), Some(json!("4 wide, in 2 of 2 layers")));
        assert!(!outcome.events.iter().any(|event| matches!(event, Event::Warning { .. })));
    }
}

#[test]
fn the_adapter_is_the_same_bit_for_bit_whatever_the_threads() {
    let bench = bench(0);
    for own in [
        json!({"kind": "houlsby", "dropout": 0.1}),
        json!({"kind": "pfeiffer"}),
        json!({"kind": "parallel", "neftune_alpha": 5.0, "learning_rate": 0.002}),
    ] {
        let bytes = |threads| {
            let outcome = bench.run::<TrainAdapter>(with(&own), threads).unwrap();
            assert_eq!(weights(&outcome, "adapter"), weights(&outcome, "last"));
            weights(&outcome, "last")
        };
        let one = bytes(1);
        assert_eq!(one, bytes(2), "{own}");
        assert_eq!(one, bytes(3), "{own}");
    }
}

#[test]
fn settings_are_those_of_the_library_unless_others_are_given() {
    let bench = bench(0);
    let of = |own: Value| {
        let mut with = json!({"max_steps": 1});
        with.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        settings(&bench.run::<TrainAdapter>(with, 1).unwrap())["config"].clone()
    };
    for (kind, factor, act, scaling) in
        [("houlsby", 16, "swish", 1.0), ("pfeiffer", 16, "relu", 1.0), ("parallel", 2, "relu", 4.0)]
    {
        let config = of(json!({"kind": kind}));
        assert_eq!(config["reduction_factor"], factor);
        assert_eq!((&config["non_linearity"], &config["scaling"]), (&json!(act), &json!(scaling)));
    }
    assert_eq!(of(json!({})), of(json!({"kind": "pfeiffer"})));
    let own = json!({"bottleneck": 3, "non_linearity": "gelu_new", "scaling": 2, "dropout": 0.25, "leave_out": [1, 1]});
    let config = of(own);
    assert_eq!((&config["non_linearity"], &config["scaling"]), (&json!("gelu_new"), &json!(2.0)));
    assert_eq!((&config["dropout"], &config["leave_out"]), (&json!(0.25), &json!([1])));
    assert_eq!((16.0 / config["reduction_factor"].as_f64().unwrap()) as usize, 3);
}

#[test]
fn base_and_adapter_answer_together_and_nothing_else_takes_the_adapter() {
    let mut bench = Bench::new(token_pairs(6), TokenRows::default());
    let records = bench.folder.path().join("records");
    fs_err::create_dir(&records).unwrap();
    let row = |row: u32| {
        let messages = json!([{"role": "user", "content": format!("word2 word{}", row + 5)},
            {"role": "assistant", "content": "word7 word9"}]);
        json!({"id": format!("r{row}"), "messages": messages, "meta": {}}).to_string() + "\n"
    };
    fs_err::write(records.join("records.jsonl"), (0..3).map(row).collect::<String>()).unwrap();
    let trained = bench.run::<TrainAdapter>(with(&json!({"kind": "houlsby", "epochs": 20})), 2).unwrap();
    let left_out = |event: &Event| matches!(event, Event::Warning { message } if message.contains("6 rows"));
    assert!(trained.events.iter().any(left_out));
    let folder = trained.outputs.join("adapter");
    let shape = Checkpoint::open(&bench.inputs["model"]).unwrap().config().clone();
    let AnyAdapter::Bottleneck(adapter) = AnyAdapter::load(&folder, &shape).unwrap() else { panic!("another method") };
    assert_eq!(adapter.config.non_linearity, NonLinearity::Swish);

    bench.inputs.insert("records".into(), records);
    let losses = |bench: &Bench| -> Vec<f64> {
        let outcome = bench.run::<Evaluate>(json!({"max_new_tokens": 4}), 2).unwrap();
        let text = fs_err::read_to_string(outcome.outputs.join("predictions/predictions.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect()
    };
    let before = losses(&bench);
    bench.inputs.insert("adapter".into(), folder.clone());
    let after = losses(&bench);
    assert!(before.iter().zip(&after).all(|(before, after)| (before - after).abs() > 1e-3), "{before:?} {after:?}");

    for error in [
        bench.run::<Merge>(json!({}), 1).err().unwrap(),
        bench.run::<Export>(json!({"format": "gguf-lora"}), 1).err().unwrap(),
        bench.run::<Export>(json!({"format": "mlx"}), 1).err().unwrap(),
        bench.run::<Export>(json!({"format": "gguf"}), 1).err().unwrap(),
        bench.run::<TrainPreference>(json!({}), 1).err().unwrap(),
    ] {
        assert_eq!(error.code, "adapter::not_lora", "{error}");
        assert!(error.help.unwrap().contains("load_adapter(folder, use_safetensors=True)"));
    }
}

#[test]
fn parameters_that_contradict_each_other_or_the_model_are_named() {
    let kind = StageKind::of::<TrainAdapter>();
    let problems = |with: Value| kind.lower(with, &[]).unwrap().problems;
    assert!(problems(json!({"kind": "parallel", "bottleneck": 8})).is_empty());
    assert_eq!(problems(json!({"warmup_steps": 3, "warmup_ratio": 0.1}))[0].path, ["warmup_ratio"]);
    assert_eq!(problems(json!({"bottleneck": 8, "reduction_factor": 4}))[0].path, ["bottleneck"]);
    for (unknown, value) in [("kind", json!("lora")), ("non_linearity", json!("mish")), ("rank", json!(8))] {
        assert!(kind.lower(json!({unknown: value}), &[]).is_err(), "{unknown}");
    }
    let error = |own: Value| bench(0).run::<TrainAdapter>(with(&own), 1).err().unwrap();
    let beyond = error(json!({"leave_out": [2]}));
    assert_eq!(beyond.code, "adapter::no_such_layer");
    assert!(beyond.message.contains("0 to 1"), "{beyond}");
    assert_eq!(error(json!({"leave_out": [0, 1]})).code, "adapter::nothing_adapted");
}

#[test]
fn blocks_computed_again_give_the_same_bytes() {
    let bench = bench(5);
    for kind in KINDS {
        for dropout in [0.0, 0.2] {
            let run = |checkpointing| {
                let own = json!({"kind": kind, "dropout": dropout, "gradient_checkpointing": checkpointing});
                weights(&bench.run::<TrainAdapter>(with(&own), 2).unwrap(), "adapter")
            };
            assert_eq!(run(false), run(true), "{kind}");
        }
    }
}
