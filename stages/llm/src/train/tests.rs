#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    ops::{ControlFlow, Range},
    path::Path,
    time::Duration,
};

use super::{
    NamedRow, Schedule, SnapshotPolicy, TrainConfig, TrainEvent, TrainSettings, Trainable, Trained, Weights, Workers,
    accumulate, train,
};
use crate::{
    Model,
    adapter::{Adapter, LoraConfig},
    model::{OwnedRows, Randomness},
    reference::{self, Reference, learnable_rows, methods, step_losses},
    weights::{Selection, TrainedWeights},
};

fn randomness(adapter: &dyn Trainable) -> Randomness {
    Randomness { seed: 7, dropout: adapter.dropout(), neftune_alpha: 0.0 }
}

fn gradient(model: &Model, adapter: &dyn Trainable, rows: &OwnedRows, threads: usize) -> (f64, Vec<f32>) {
    let named = NamedRow::all(rows);
    let supervised: usize = named.iter().map(|n| n.row.supervised()).sum();
    let mut total = vec![0f32; adapter.values().len()];
    let (weights, mut workers) = (Weights::Every(1.0 / supervised as f64), Workers::new(threads));
    let passed = accumulate(model, adapter, &named, weights, randomness(adapter), &mut workers, &mut total).unwrap();
    (passed.loss.mean(), total)
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

fn assert_gradient_equals_peft(reference: &Reference) {
    let (model, adapter) = (reference.model(), reference.adapter());
    let (loss, found) = gradient(&model, &adapter, &reference.rows(), 2);
    let expected_loss = f64::from(reference.values("mean_loss")[0]);
    assert!((loss - expected_loss).abs() < 1e-5 * expected_loss, "{loss} {expected_loss}");
    let expected = reference.in_adapter_order("gradient");
    for tensor in &adapter.tensors {
        let (found, expected) = (&found[tensor.range()], &expected[tensor.range()]);
        let off = norm(found.iter().zip(expected).map(|(a, b)| a - b)) / norm(expected.iter().copied());
        assert!(off < 1e-4, "{}: {off}", tensor.name());
    }
}

#[test]
fn gradients_of_llama_equal_peft() {
    assert_gradient_equals_peft(&reference::llama());
}

#[test]
fn gradients_of_qwen2_equal_peft() {
    assert_gradient_equals_peft(&reference::qwen2());
}

#[test]
fn the_gradient_agrees_with_finite_differences_also_under_dropout() {
    let reference = reference::llama();
    let model = reference.model();
    let rows = learnable_rows(6);
    for dropout in [0.0, 0.3] {
        let mut adapter = reference.adapter();
        adapter.config.dropout = dropout;
        let (_, slope) = gradient(&model, &adapter, &rows, 1);
        let length = norm(slope.iter().copied());
        let at = |step: f64| {
            let mut moved = adapter.clone();
            for (value, g) in moved.values.iter_mut().zip(&slope) {
                *value += (step * f64::from(*g) / length) as f32;
            }
            gradient(&model, &moved, &rows, 1).0
        };
        let measured = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!((measured - length).abs() < 5e-3 * length, "dropout {dropout}: {measured} {length}");
    }
}

/// DoRA over the reference adapter's A and B, with lengths of rows as in `methods.py`.
fn dora(reference: &Reference) -> Adapter {
    let config = LoraConfig { dora: true, ..Reference::lora() };
    let mut adapter = Adapter::initial(config, &reference.model(), 0).unwrap();
    let plain = reference.adapter();
    for tensor in adapter.tensors.clone() {
        let values = &mut adapter.values[tensor.range()];
        match plain.tensors.iter().find(|other| other.name() == tensor.name()) {
            Some(same) => values.copy_from_slice(&plain.values[same.range()]),
            None => values.iter_mut().enumerate().for_each(|(row, value)| *value *= 1.0 + 0.1 * (row as f32).sin()),
        }
    }
    adapter
}

#[test]
fn gradients_of_dora_equal_peft() {
    let reference = reference::llama();
    let adapter = dora(&reference);
    let tensors = adapter.tensors.iter().map(|tensor| (tensor.name(), tensor.range())).collect();
    assert_gradient("dora", &reference, &adapter, tensors);
}

#[test]
fn gradients_of_all_weights_equal_transformers() {
    let reference = reference::llama();
    let weights = TrainedWeights::of(&reference.model(), &Selection::All).unwrap();
    let tensors = weights.tensors().iter().map(|tensor| (tensor.name.clone(), tensor.range())).collect();
    assert_gradient("full", &reference, &weights, tensors);
}

fn assert_gradient(method: &str, reference: &Reference, trained: &dyn Trainable, tensors: Vec<(String, Range<usize>)>) {
    let expected = &methods()[method];
    let (loss, found) = gradient(&reference.model(), trained, &reference.rows(), 2);
    let expected_loss = expected["loss"].as_f64().unwrap();
    assert!((loss - expected_loss).abs() < 1e-5 * expected_loss, "{loss} {expected_loss}");
    assert_eq!(tensors.len(), expected["gradients"].as_object().unwrap().len());
    for (name, range) in tensors {
        let found = &found[range];
        let numbers = expected["gradients"][&name].as_array().unwrap();
        let [size, along] = [0, 1].map(|at| numbers[at].as_f64().unwrap());
        let found_along: f64 = found.iter().enumerate().map(|(at, g)| f64::from(*g) * (at as f64 + 1.0).sin()).sum();
        let off = (norm(found.iter().copied()) - size).abs().max((found_along - along).abs());
        assert!(off < 1e-4 * size, "{name}: {off} of {size}");
    }
}

#[test]
fn full_tuning_follows_transformers_step_by_step() {
    let reference = reference::llama();
    let (model, rows) = (reference.model(), reference.rows());
    let weights = TrainedWeights::of(&model, &Selection::All).unwrap();
    let config = reference::eight_steps();
    let trained =
        train(&model, weights, &rows, None, &config, &settings(1), &mut |_| ControlFlow::Continue(())).unwrap();
    for (row, expected) in trained.history.iter().zip(step_losses("full")) {
        assert!((row.loss - expected).abs() < 1e-3 * expected, "step {}: {} {expected}", row.step, row.loss);
    }
}

#[test]
fn full_tuning_resumes_bit_for_bit() {
    let (model, rows) = (reference::qwen2().model(), learnable_rows(10));
    let weights = TrainedWeights::of(&model, &Selection::All).unwrap();
    let run = |settings: &TrainSettings, stop: u64| {
        train(&model, weights.clone(), &rows, Some(&learnable_rows(3)), &config(), settings, &mut |event| match event {
            TrainEvent::Step { row, .. } if row.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap()
    };
    let whole = run(&settings(1), u64::MAX);
    let folder = tempfile::tempdir().unwrap();
    for stop in [2, 5] {
        assert!(run(&snapshots(folder.path(), "same"), stop).interrupted);
    }
    let rest = run(&snapshots(folder.path(), "same"), u64::MAX);
    assert_eq!(rest.history.len(), whole.history.len());
    assert_eq!(rest.last, whole.last);
    assert_eq!(rest.best, whole.best);
}

#[test]
fn training_follows_peft_step_by_step() {
    let reference = reference::llama();
    let with = |change: fn(&mut LoraConfig)| {
        let mut adapter = reference.adapter();
        change(&mut adapter.config);
        adapter
    };
    for (method, adapter, lora_plus_ratio) in [
        ("lora", with(|_| {}), 1.0),
        ("rslora", with(|config| config.rslora = true), 1.0),
        ("lora_plus", with(|_| {}), 4.0),
        ("dora", dora(&reference), 1.0),
    ] {
        let config = TrainConfig { lora_plus_ratio, ..reference::eight_steps() };
        let (model, rows) = (reference.model(), reference.rows());
        let trained =
            train(&model, adapter, &rows, None, &config, &settings(1), &mut |_| ControlFlow::Continue(())).unwrap();
        for (row, expected) in trained.history.iter().zip(step_losses(method)) {
            assert!(
                (row.loss - expected).abs() < 1e-3 * expected,
                "{method}, step {}: {} {expected}",
                row.step,
                row.loss
            );
        }
    }
}

fn config() -> TrainConfig {
    TrainConfig { epochs: 3, batch_size: 4, learning_rate: 0.01, seed: 11, ..TrainConfig::default() }
}

fn settings(threads: usize) -> TrainSettings {
    TrainSettings { threads, ..TrainSettings::default() }
}

fn run(config: &TrainConfig, adapter: Adapter, settings: &TrainSettings) -> Trained<Adapter> {
    let (model, rows) = (reference::llama().model(), learnable_rows(10));
    train(&model, adapter, &rows, Some(&learnable_rows(3)), config, settings, &mut |_| ControlFlow::Continue(()))
        .unwrap()
}

fn with_dropout(dropout: f64) -> Adapter {
    let mut adapter = reference::llama().adapter();
    adapter.config.dropout = dropout;
    adapter
}

#[test]
fn accumulation_equals_a_larger_batch() {
    for dropout in [0.0, 0.2] {
        let [whole, parts, single] = [(8, 1), (2, 4), (1, 8)].map(|(batch_size, accumulation)| {
            let config = TrainConfig { batch_size, accumulation, ..config() };
            run(&config, with_dropout(dropout), &settings(2))
        });
        for other in [parts, single] {
            assert_eq!(other.history.len(), whole.history.len());
            for (a, b) in other.history.iter().zip(&whole.history) {
                assert!((a.loss - b.loss).abs() < 1e-4 * b.loss, "dropout {dropout}: {} {}", a.loss, b.loss);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let noisy = TrainConfig { neftune_alpha: 5.0, lora_plus_ratio: 4.0, ..config() };
    for (config, adapter) in [
        (config(), with_dropout(0.0)),
        (config(), with_dropout(0.2)),
        (noisy, with_dropout(0.0)),
        (config(), dora(&reference::llama())),
    ] {
        let one = run(&config, adapter.clone(), &settings(1));
        for threads in [2, 5] {
            assert_eq!(one.last.values, run(&config, adapter.clone(), &settings(threads)).last.values);
        }
    }
}

fn snapshots(folder: &Path, fingerprint: &str) -> TrainSettings {
    let policy =
        SnapshotPolicy { folder: folder.to_owned(), every: Duration::ZERO, fingerprint: fingerprint.to_owned() };
    TrainSettings { threads: 2, snapshot: Some(policy), ..TrainSettings::default() }
}

/// Trains until `stop` steps are done; says which steps were done and what else was told.
fn run_until(stop: u64, adapter: Adapter, settings: &TrainSettings) -> (Trained<Adapter>, Vec<u64>, Vec<String>) {
    let (model, rows) = (reference::llama().model(), learnable_rows(10));
    let (mut steps, mut told) = (Vec::new(), Vec::new());
    let trained = train(&model, adapter, &rows, Some(&learnable_rows(3)), &config(), settings, &mut |event| {
        match event {
            TrainEvent::Step { row, .. } => {
                steps.push(row.step);
                if row.step == stop {
                    return ControlFlow::Break(());
                }
            }
            TrainEvent::Resumed { step } => told.push(format!("resumed after {step}")),
            TrainEvent::SnapshotSetAside { path, reason } => {
                assert!(path.exists());
                told.push(reason);
            }
            TrainEvent::Started { .. } | TrainEvent::Validating { .. } | TrainEvent::StoppedEarly { .. } => {}
        }
        ControlFlow::Continue(())
    });
    (trained.unwrap(), steps, told)
}

#[test]
fn a_resumed_training_equals_one_that_was_never_stopped() {
    for adapter in [with_dropout(0.0), with_dropout(0.2), dora(&reference::llama())] {
        let whole = run(&config(), adapter.clone(), &settings(2));
        let folder = tempfile::tempdir().unwrap();
        let settings = snapshots(folder.path(), "same");
        for (stop, first) in [(2, 1), (5, 3)] {
            let (part, steps, _) = run_until(stop, adapter.clone(), &settings);
            assert!(part.interrupted);
            assert_eq!(steps[0], first);
        }
        let (rest, steps, told) = run_until(u64::MAX, adapter, &settings);
        assert_eq!(told, ["resumed after 5"]);
        assert_eq!(steps, [6, 7, 8, 9]);
        assert_eq!(rest.last.values, whole.last.values);
        assert_eq!(rest.best.unwrap().values, whole.best.unwrap().values);
        assert_eq!(rest.lowest, whole.lowest);
        let losses = |trained: &[super::HistoryRow]| -> Vec<(u64, f64, Option<f64>, u64)> {
            trained.iter().map(|row| (row.step, row.loss, row.validation_loss, row.tokens)).collect()
        };
        assert_eq!(losses(&rest.history), losses(&whole.history));
    }
}

#[test]
fn a_snapshot_that_cannot_be_used_is_set_aside_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("training.snapshot");
    run_until(2, with_dropout(0.0), &snapshots(folder.path(), "one"));
    let whole = fs_err::read(&file).unwrap();

    let (_, steps, told) = run_until(1, with_dropout(0.0), &snapshots(folder.path(), "other"));
    assert_eq!((steps, told), (vec![1], vec!["it belongs to a training with other parameters or inputs".to_owned()]));

    let mut flipped = whole.clone();
    flipped[whole.len() - 5] ^= 4;
    for damaged in [&whole[..whole.len() / 2], &whole[..7], &flipped] {
        fs_err::write(&file, damaged).unwrap();
        let (_, steps, told) = run_until(1, with_dropout(0.0), &snapshots(folder.path(), "one"));
        assert_eq!(steps, [1]);
        assert_eq!(told.len(), 1, "{told:?}");
    }
}

#[test]
fn early_stopping_keeps_the_best_adapter() {
    let (model, rows) = (reference::llama().model(), learnable_rows(10));
    // The same questions with other answers: learning the rows makes these worse.
    let contrary: OwnedRows = learnable_rows(10)
        .into_iter()
        .map(|(ids, mask)| {
            (ids.iter().zip(&mask).map(|(id, m)| if *m == 1 { (id + 7) % 24 } else { *id }).collect(), mask)
        })
        .collect();
    let config = TrainConfig {
        epochs: 200,
        learning_rate: 0.03,
        schedule: Schedule::Constant,
        evaluate_every: Some(2),
        early_stopping_patience: Some(3),
        ..config()
    };
    let mut stopped = None;
    let trained =
        train(&model, reference::llama().adapter(), &rows, Some(&contrary), &config, &settings(1), &mut |event| {
            if let TrainEvent::StoppedEarly { step } = event {
                stopped = Some(step);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let (best, lowest) = trained.lowest.unwrap();
    assert_eq!(stopped, Some(best + 6));
    assert_eq!(trained.history.last().unwrap().step, best + 6);
    let losses: Vec<f64> = trained.history.iter().filter_map(|row| row.validation_loss).collect();
    assert!(losses.iter().all(|loss| *loss >= lowest));
    assert_ne!(trained.best.unwrap().values, trained.last.values);
}

#[test]
fn rows_come_in_the_order_asked_for_and_every_epoch_sees_all() {
    let trained = run(&TrainConfig { shuffle: false, ..config() }, with_dropout(0.0), &settings(1));
    let tokens: u64 = learnable_rows(10).iter().map(|(ids, _)| ids.len() as u64).sum();
    assert_eq!(trained.history.iter().map(|row| row.step).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    for (epoch, row) in trained.history.iter().filter(|row| row.validation_loss.is_some()).enumerate() {
        assert_eq!(row.tokens, tokens * (epoch as u64 + 1));
        assert!((row.epoch - (epoch as f64 + 1.0)).abs() < 1e-12);
    }
    let other = run(&TrainConfig { seed: 12, ..config() }, with_dropout(0.0), &settings(1));
    let shuffled = run(&config(), with_dropout(0.0), &settings(1));
    for different in [&other, &trained] {
        assert!((shuffled.history[0].loss - different.history[0].loss).abs() > 0.0);
    }
}
