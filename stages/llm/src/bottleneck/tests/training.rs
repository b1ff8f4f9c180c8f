use std::{ops::ControlFlow, time::Duration};

use super::{BottleneckAdapter, BottleneckConfig, KINDS, adapter, small};
use crate::{
    reference::{self, learnable_rows},
    train::{SnapshotPolicy, TrainConfig, TrainEvent, TrainSettings, Trained, train},
};

fn run(config: BottleneckConfig, settings: &TrainSettings, stop: u64) -> Trained<BottleneckAdapter> {
    let model = reference::llama().model();
    let adapter = adapter(config, model.config());
    let config = TrainConfig { epochs: 3, batch_size: 4, learning_rate: 0.01, seed: 11, ..TrainConfig::default() };
    let (rows, held_out) = (learnable_rows(10), learnable_rows(3));
    train(&model, adapter, &rows, Some(&held_out), &config, settings, &mut |event| match event {
        TrainEvent::Step { row, .. } if row.step == stop => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .unwrap()
}

#[test]
fn a_training_gives_the_same_bits_whatever_the_threads_and_however_often_it_was_stopped() {
    for kind in KINDS {
        for dropout in [0.0, 0.2] {
            let config = BottleneckConfig { dropout, ..small(kind) };
            let alone = TrainSettings { threads: 1, ..TrainSettings::default() };
            let whole = run(config.clone(), &alone, u64::MAX);
            assert!(whole.history[8].loss < whole.history[0].loss, "{kind:?}");
            let two = run(config.clone(), &TrainSettings { threads: 2, ..TrainSettings::default() }, u64::MAX);
            assert_eq!((&two.last, &two.best), (&whole.last, &whole.best), "{kind:?}");

            let folder = tempfile::tempdir().unwrap();
            let policy =
                SnapshotPolicy { folder: folder.path().to_owned(), every: Duration::ZERO, fingerprint: "same".into() };
            let kept = TrainSettings { threads: 2, snapshot: Some(policy), ..TrainSettings::default() };
            for stop in [2, 5] {
                assert!(run(config.clone(), &kept, stop).interrupted);
            }
            let rest = run(config, &kept, u64::MAX);
            assert_eq!((&rest.last, &rest.best, rest.lowest), (&whole.last, &whole.best, whole.lowest), "{kind:?}");
        }
    }
}
