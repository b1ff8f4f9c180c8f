use refit_engine::stage::{Event, StageKind};
use serde_json::{Value, json};

use super::TrainPreference;
use crate::{
    tokens::TokenRows,
    train_lora::TrainLora,
    training::bench::{Bench, Outcome, token_pairs, token_rows},
};

fn with(loss: &str) -> Value {
    json!({"loss": loss, "rank": 4, "learning_rate": 0.02, "epochs": 6, "batch_size": 4, "schedule": "constant"})
}

fn run(bench: &Bench, with: Value) -> Outcome {
    bench.run::<TrainPreference>(with, 2).unwrap()
}

#[test]
fn every_loss_is_trained_and_its_history_tells_both_answers() {
    let bench = Bench::new(token_pairs(9), token_pairs(2));
    for loss in ["dpo", "ipo", "orpo", "simpo", "kto"] {
        let outcome = run(&bench, with(loss));
        let history = outcome.history();
        let (first, last) = (&history[0], &history[history.len() - 1]);
        assert!(last["loss"].as_f64() < first["loss"].as_f64(), "{loss}");
        for name in ["rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected"] {
            assert!(last[name].is_number(), "{loss}: {name}");
        }
        assert_eq!(last.get("rewards/accuracies").is_some(), loss != "kto");
        assert_eq!(last.get("validation_accuracies").is_some(), loss != "kto");
        assert!(last["validation_loss"].is_number());
        assert_eq!(outcome.fact("train.reference").is_some(), !["orpo", "simpo"].contains(&loss), "{loss}");
        let curve = fs_err::read_to_string(outcome.outputs.join("history/curve.svg")).unwrap();
        assert!(curve.contains("rejected (smoothed)"));
    }
}

#[test]
fn the_adapter_is_the_same_bit_for_bit_whatever_the_threads() {
    let bench = Bench::new(token_pairs(9), TokenRows::default());
    for loss in ["dpo", "kto"] {
        let bytes = |threads| bench.run::<TrainPreference>(with(loss), threads).unwrap().adapter();
        assert_eq!(bytes(1), bytes(3), "{loss}");
    }
}

#[test]
fn a_training_goes_on_from_an_adapter_which_is_its_reference() {
    let mut bench = Bench::new(token_pairs(9), TokenRows::default());
    let start = bench.run::<TrainLora>(json!({"rank": 2, "alpha": 6, "learning_rate": 0.02, "epochs": 2}), 2).unwrap();
    bench.inputs.insert("adapter".into(), start.outputs.join("adapter"));
    let outcome = run(&bench, json!({"rank": 16, "max_steps": 2, "warmup_steps": 1}));
    // The first step of a warm-up has the rate 0: policy and reference are still the same.
    for row in outcome.history() {
        assert!((row["loss"].as_f64().unwrap() - 2f64.ln()).abs() < 1e-6, "{row}");
    }
    assert_eq!(outcome.fact("train.reference"), Some(json!("the model with the adapter given")));
    let ignored = |event: &Event| matches!(event, Event::Warning { message } if message.contains("have no effect"));
    assert!(outcome.events.iter().any(ignored));
    let config = fs_err::read_to_string(outcome.outputs.join("adapter/adapter_config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(2), &json!(6)));
}

#[test]
fn rows_without_preferences_are_refused_with_a_way_out() {
    let plain = Bench::new(token_rows(4), TokenRows::default());
    let error = plain.run::<TrainPreference>(with("dpo"), 1).err().unwrap();
    assert_eq!(error.code, "train::no_preferences");
    assert!(error.help.unwrap().contains("rejected"));

    let mut labelled = TokenRows::default();
    for row in 0..6 {
        labelled.push(&[2, 3, 5 + row, 9], [false, false, true, true]);
        labelled.prefer(row, row % 3 == 0);
    }
    let bench = Bench::new(labelled, TokenRows::default());
    let error = bench.run::<TrainPreference>(with("simpo"), 1).err().unwrap();
    assert_eq!(error.code, "train::no_preferences");
    assert!(error.help.unwrap().contains("kto"));
    assert!(run(&bench, with("kto")).history().iter().all(|row| row["kl"].is_number()));
}

#[test]
fn parameters_that_a_loss_has_no_use_for_are_named() {
    let kind = StageKind::of::<TrainPreference>();
    let problems = |with: Value| -> Vec<String> {
        kind.lower(with, &[]).unwrap().problems.into_iter().map(|problem| problem.path[0].clone()).collect()
    };
    assert!(problems(json!({"loss": "dpo", "label_smoothing": 0.1, "sft_weight": 1})).is_empty());
    assert_eq!(problems(json!({"loss": "ipo", "label_smoothing": 0.1})), ["label_smoothing"]);
    assert_eq!(problems(json!({"loss": "kto", "sft_weight": 0.1})), ["sft_weight"]);
    assert_eq!(problems(json!({"loss": "kto", "batch_size": 1})), ["batch_size"]);
    assert_eq!(problems(json!({"target_modules": [], "warmup_steps": 3, "warmup_ratio": 0.1})).len(), 2);
    assert!(kind.lower(json!({"betas": 3}), &[]).is_err());
}

#[test]
fn blocks_computed_again_give_the_same_bytes() {
    let bench = Bench::new(token_pairs(9), TokenRows::default());
    for loss in ["dpo", "kto"] {
        let mut with = with(loss);
        let plain = run(&bench, with.clone()).adapter();
        with["gradient_checkpointing"] = json!(true);
        assert_eq!(plain, run(&bench, with).adapter(), "{loss}");
    }
}
