#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;

use super::{Preference, PreferenceLoss, PreferenceMethod, loss::Answer};
use crate::{
    Model,
    adapter::Adapter,
    model::{OwnedRows, Randomness, Rows},
    reference,
    train::{
        GradientBy, Likelihood, NamedRow, Objective, SnapshotPolicy, TrainConfig, TrainSettings, Trainable, Trained,
        Workers, accumulate, composed_gradient, train_towards,
    },
};

const METHODS: [PreferenceMethod; 5] = [
    PreferenceMethod::Dpo,
    PreferenceMethod::Ipo,
    PreferenceMethod::Orpo,
    PreferenceMethod::SimPo,
    PreferenceMethod::Kto,
];

fn loss(method: PreferenceMethod) -> PreferenceLoss {
    PreferenceLoss {
        method,
        beta: 0.3,
        gamma: 0.5,
        label_smoothing: 0.0,
        sft_weight: 0.0,
        desirable_weight: 1.0,
        undesirable_weight: 1.5,
    }
}

fn answer(log_p: f64, tokens: usize, reference: f64) -> Answer {
    Answer { policy: Likelihood { log_p, tokens }, reference }
}

/// One question each, a chosen and a rejected answer in turn; all questions begin alike.
fn pairs(count: u32) -> OwnedRows {
    let row = |pair: u32, rejected: u32| {
        let (asked, length) = (3 + pair % 4, 6 + (pair + rejected) % 5);
        let ids = (0..length).map(|at| match at {
            0 | 1 => at + 1,
            at if at < asked => (pair * 5 + at * 3) % 20 + 3,
            at => (pair * 7 + at * 5 + rejected * 4) % 20 + 3,
        });
        (ids.collect(), (0..length).map(|at| u8::from(at >= asked)).collect())
    };
    (0..count).flat_map(|pair| [row(pair, 0), row(pair, 1)]).collect()
}

fn desired(rows: &OwnedRows) -> Vec<bool> {
    (0..rows.len()).map(|row| row % 2 == 0).collect()
}

/// An adapter that is not its own reference.
fn policy(model: &Model) -> (Adapter, Adapter) {
    let start = reference::llama().adapter();
    let mut moved = start.clone();
    for (at, value) in moved.values.iter_mut().enumerate() {
        *value += ((at * 37 % 23) as f32 - 11.0) * 4e-3;
    }
    moved.check(model.config()).unwrap();
    (start, moved)
}

#[test]
fn slopes_are_those_of_finite_differences() {
    let step = 1e-5;
    for method in METHODS {
        for (smoothing, sft) in [(0.0, 0.0), (0.2, 0.7)] {
            let loss = PreferenceLoss { label_smoothing: smoothing, sft_weight: sft, ..loss(method) };
            for (c, r) in [(-3.0, -9.0), (-8.0, -2.5), (-0.01, -30.0)] {
                let pair = |c, r| loss.of_pair(answer(c, 4, -4.0), answer(r, 7, -7.5));
                let alone = |p, desired| loss.of_answer(answer(p, 4, -4.0), desired, 0.4);
                let pairs = method.takes_pairs();
                let value = |c, r| if pairs { pair(c, r).0 } else { alone(c, true).0 + alone(r, false).0 };
                let slopes = if pairs { pair(c, r).1 } else { [alone(c, true).1, alone(r, false).1] };
                let measured = [
                    (value(c + step, r) - value(c - step, r)) / (2.0 * step),
                    (value(c, r + step) - value(c, r - step)) / (2.0 * step),
                ];
                for (slope, measured) in slopes.iter().zip(measured) {
                    let off = (slope - measured).abs();
                    assert!(off < 1e-6 * (1.0 + slope.abs()), "{method:?} at {c}, {r}: {slope} {measured}");
                }
            }
        }
    }
}

/// Loss and gradient of one optimizer step over all rows, the reference being `start`.
fn step(
    by: GradientBy,
    preference: &Preference<'_>,
    model: &Model,
    policy: &Adapter,
    threads: usize,
) -> (f64, Vec<f32>) {
    let mut workers = Workers::new(threads);
    let rows = preference.rows();
    let rows: Vec<NamedRow<'_>> = NamedRow::all(rows);
    let objective = Objective::Preference(preference);
    let begun = objective.begin(model, policy, &rows, &mut workers).unwrap();
    let mut gradient = vec![0f32; policy.values.len()];
    let found = by(model, policy, &rows, begun.weights(), Randomness::default(), &mut workers, &mut gradient).unwrap();
    (begun.measure(&found).0, gradient)
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn gradients_are_those_of_burn_operations_and_of_finite_differences() {
    for (name, model) in [("llama", reference::llama().model()), ("qwen2", reference::qwen2().model())] {
        let rows = pairs(5);
        for method in METHODS {
            let (start, policy) = policy(&model);
            let new = || Preference::new(&rows, desired(&rows), loss(method), Some(start.clone())).unwrap();
            let preference = new();
            let (value, slope) = step(accumulate, &preference, &model, &policy, 2);
            let (expected, composed) = step(composed_gradient, &new(), &model, &policy, 2);
            assert!((value - expected).abs() < 1e-4 * expected.abs(), "{name}, {method:?}: {value} {expected}");
            let off = norm(slope.iter().zip(&composed).map(|(a, b)| a - b)) / norm(composed.iter().copied());
            assert!(off < 1e-3, "{name}, {method:?}: off by {off}");
            if method == PreferenceMethod::Kto {
                // Its divergence has no gradient, but changes with the values.
                continue;
            }
            let length = norm(slope.iter().copied());
            let at = |distance: f64| {
                let mut moved = policy.clone();
                for (value, slope) in moved.values.iter_mut().zip(&slope) {
                    *value += (distance * f64::from(*slope) / length) as f32;
                }
                step(accumulate, &preference, &model, &moved, 1).0
            };
            let measured = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((measured - length).abs() < 1e-2 * length, "{name}, {method:?}: {measured} {length}");
        }
    }
}

fn config() -> TrainConfig {
    TrainConfig { epochs: 4, batch_size: 2, learning_rate: 0.02, seed: 3, ..TrainConfig::default() }
}

/// Trains until `stop` steps are done.
fn trained(
    method: PreferenceMethod,
    dropout: f64,
    settings: &TrainSettings,
    config: &TrainConfig,
    stop: u64,
) -> Trained<Adapter> {
    let (model, rows, held_out) = (reference::llama().model(), pairs(5), pairs(2));
    let new = |rows| {
        Preference::new(rows, (0..Rows::len(rows)).map(|row| row % 2 == 0).collect(), loss(method), None).unwrap()
    };
    let (preference, validation) = (new(&rows), new(&held_out));
    let mut initial = Adapter::initial(reference::Reference::lora(), &model, 1).unwrap();
    initial.config.dropout = dropout;
    let towards = Objective::Preference(&preference);
    train_towards(&model, initial, towards, Some(Objective::Preference(&validation)), config, settings, &mut |event| {
        match event {
            crate::train::TrainEvent::Step { row, .. } if row.step == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })
    .unwrap()
}

#[test]
fn every_method_learns_to_tell_answers_apart() {
    let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
    for method in METHODS {
        let config = TrainConfig { epochs: 30, ..config() };
        let trained = trained(method, 0.0, &settings, &config, u64::MAX);
        let (first, last) = (&trained.history[0], trained.history.last().unwrap());
        assert!(last.loss < first.loss, "{method:?}: {} {}", first.loss, last.loss);
        let [before, after] = [first, last].map(|row| row.preference.margins);
        if method.takes_pairs() {
            assert!(after.unwrap() > before.unwrap(), "{method:?}: {before:?} {after:?}");
            assert!((last.preference.accuracies.unwrap() - 1.0).abs() < 1e-12, "{method:?}");
            assert!(last.preference.validation_accuracies.is_some());
        }
        assert_eq!(last.preference.kl.is_some(), method == PreferenceMethod::Kto);
        if method == PreferenceMethod::Dpo {
            // Policy and reference are the same at first.
            assert!((first.loss - 2f64.ln()).abs() < 1e-6, "{}", first.loss);
        }
    }
}

#[test]
fn threads_and_being_stopped_change_no_bit() {
    for method in METHODS {
        for dropout in [0.0, 0.2] {
            let alone = |threads| {
                trained(method, dropout, &TrainSettings { threads, ..TrainSettings::default() }, &config(), u64::MAX)
            };
            let whole = alone(1);
            assert_eq!(whole.last.values, alone(3).last.values, "{method:?}");
            let folder = tempfile::tempdir().unwrap();
            let policy = SnapshotPolicy {
                folder: folder.path().to_owned(),
                every: std::time::Duration::ZERO,
                fingerprint: "same".into(),
            };
            let settings = TrainSettings { threads: 2, snapshot: Some(policy), ..TrainSettings::default() };
            assert!(trained(method, dropout, &settings, &config(), 4).interrupted);
            let resumed = trained(method, dropout, &settings, &config(), u64::MAX);
            assert_eq!(resumed.last.values, whole.last.values, "{method:?}");
            assert_eq!(resumed.best.unwrap().values, whole.best.as_ref().unwrap().values, "{method:?}");
            let told = |trained: &[crate::train::HistoryRow]| -> Vec<_> {
                trained.iter().map(|row| (row.loss, row.validation_loss, row.preference.clone())).collect()
            };
            assert_eq!(told(&resumed.history), told(&whole.history), "{method:?}");
        }
    }
}

#[test]
fn accumulation_equals_a_larger_batch() {
    for method in METHODS {
        let [whole, parts] = [(4, 1), (1, 4)].map(|(batch_size, accumulation)| {
            let config = TrainConfig { batch_size, accumulation, ..config() };
            trained(method, 0.0, &TrainSettings { threads: 2, ..TrainSettings::default() }, &config, u64::MAX)
        });
        for (a, b) in whole.history.iter().zip(&parts.history) {
            assert!((a.loss - b.loss).abs() < 1e-4 * b.loss.abs(), "{method:?}: {} {}", a.loss, b.loss);
        }
    }
}

#[test]
fn rows_that_are_no_pairs_are_refused() {
    let rows = pairs(2);
    let new = |method, desired| Preference::new(&rows, desired, loss(method), None).err();
    let unlabelled = vec![true, true, false, false];
    assert!(matches!(new(PreferenceMethod::Dpo, unlabelled.clone()), Some(crate::LlmError::NotPairs)));
    assert!(new(PreferenceMethod::Kto, unlabelled).is_none());
}

/// Expected values: `tests/reference/preference_losses.py`, which runs the trainers of TRL 1.16.
#[test]
fn values_and_slopes_are_those_of_trl() {
    let pinned = include_str!("../../../tests/reference/preference-losses.json");
    let pinned: serde_json::Value = serde_json::from_str(pinned).unwrap();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let (beta, gamma) = (number(&pinned["beta"]), number(&pinned["gamma"]));
    let pairs: Vec<[Answer; 2]> = pinned["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            [0, 1].map(|side| {
                let known = &pair[side];
                answer(number(&known[0]), known[1].as_u64().unwrap() as usize, number(&known[2]))
            })
        })
        .collect();
    let close = |found: f64, expected: f64, what: &str| {
        assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{what}: {found} {expected}");
    };
    let mut compared = 0;
    for (name, by_smoothing) in pinned["losses"].as_object().unwrap() {
        let method: PreferenceMethod = serde_json::from_value(name.clone().into()).unwrap();
        for (smoothing, values) in by_smoothing.as_object().unwrap() {
            let label_smoothing = smoothing.parse().unwrap();
            let loss = PreferenceLoss { beta, gamma, label_smoothing, ..loss(method) };
            for ([chosen, rejected], expected) in pairs.iter().zip(values.as_array().unwrap()) {
                // TRL's references have no say in these two.
                let (value, slopes) = loss.of_pair(*chosen, *rejected);
                close(value, number(&expected[0]), name);
                close(slopes[0], number(&expected[1][0]), name);
                close(slopes[1], number(&expected[1][1]), name);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 4 * 6);
    for batch in pinned["kto"].as_array().unwrap() {
        let undesirable_weight = number(&pinned["undesirable_weight"]);
        let loss = PreferenceLoss { beta, undesirable_weight, ..loss(PreferenceMethod::Kto) };
        let answers: Vec<(Answer, bool)> =
            [0, 1].into_iter().flat_map(|side| pairs.iter().map(move |pair| (pair[side], side == 0))).collect();
        let divergence = number(&batch["divergence"]).max(0.0);
        let (mut sum, count) = (0.0, answers.len() as f64);
        for ((answer, desired), expected) in answers.iter().zip(batch["slopes"].as_array().unwrap()) {
            let (value, slope) = loss.of_answer(*answer, *desired, divergence);
            sum += value;
            close(slope / count, number(expected), "kto");
        }
        close(sum / count, number(&batch["loss"]), "kto");
    }
}

/// Expected values: `tests/reference/preference_steps.py --tiny`, which is the `DPOTrainer` of TRL 1.16 on the tiny Llama.
#[test]
fn dpo_follows_trl_step_by_step() {
    let pinned = include_str!("../../../tests/reference/preference-steps.json");
    let pinned: Vec<serde_json::Value> = serde_json::from_str(pinned).unwrap();
    let (model, rows, start) = (reference::llama().model(), pairs(8), reference::llama().adapter());
    let loss = PreferenceLoss { beta: 0.1, ..loss(PreferenceMethod::Dpo) };
    let preference = Preference::new(&rows, desired(&rows), loss, Some(start.clone())).unwrap();
    let config = TrainConfig {
        max_steps: Some(pinned.len() as u64),
        batch_size: 2,
        learning_rate: 0.01,
        schedule: crate::train::Schedule::Constant,
        shuffle: false,
        ..TrainConfig::default()
    };
    let settings = TrainSettings { threads: 2, ..TrainSettings::default() };
    let towards = Objective::Preference(&preference);
    let trained =
        train_towards(&model, start, towards, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(trained.history.len(), pinned.len());
    for (row, expected) in trained.history.iter().zip(&pinned) {
        let known = &row.preference;
        for (name, found, bound) in [
            ("loss", row.loss, 5e-3 * row.loss),
            ("rewards/chosen", known.chosen_reward.unwrap(), 2e-3),
            ("rewards/rejected", known.rejected_reward.unwrap(), 2e-3),
            ("rewards/margins", known.margins.unwrap(), 2e-3),
            ("rewards/accuracies", known.accuracies.unwrap(), 1e-9),
            ("logps/chosen", known.chosen_log_p.unwrap(), 2e-2),
            ("logps/rejected", known.rejected_log_p.unwrap(), 2e-2),
        ] {
            let expected = expected[name].as_f64().unwrap();
            assert!((found - expected).abs() < bound, "step {}, {name}: {found} {expected}", row.step);
        }
    }
}
