#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files;
mod gradients;
mod library;
mod training;

use refit_checkpoint::ModelConfig;

use super::{BottleneckAdapter, BottleneckConfig, BottleneckKind, ReductionFactor};
use crate::{
    Device, Model,
    model::{OwnedRows, Randomness},
    reference::{self, numbers},
    train::{GradientBy, NamedRow, Trainable, Weights, Workers},
};

const KINDS: [BottleneckKind; 3] = [BottleneckKind::Houlsby, BottleneckKind::Pfeiffer, BottleneckKind::Parallel];

/// The tiny model of this name.
fn model(name: &str) -> Model {
    match name {
        "llama" => reference::llama().model(),
        "qwen2" => reference::qwen2().model(),
        family => {
            let found = reference::families().into_iter().find(|known| known.name == family);
            found.unwrap().model(&Device::flex())
        }
    }
}

/// Small bottlenecks of a kind.
fn small(kind: BottleneckKind) -> BottleneckConfig {
    BottleneckConfig { reduction_factor: ReductionFactor::Every(4.0), ..BottleneckConfig::of(kind) }
}

/// An adapter with the values that `bottleneck.py` gives it: none is zero.
fn adapter(config: BottleneckConfig, model: &ModelConfig) -> BottleneckAdapter {
    let mut adapter = BottleneckAdapter::zeros(config, model).unwrap();
    for tensor in adapter.tensors.clone() {
        let range = tensor.range();
        for (value, number) in adapter.values[range.clone()].iter_mut().zip(numbers(&tensor.name, range.len())) {
            *value = number * 0.25;
        }
    }
    adapter
}

/// The mean loss over the targets of all rows, and its gradient.
fn gradient(
    by: GradientBy,
    model: &Model,
    adapter: &dyn Trainable,
    rows: &OwnedRows,
    neftune_alpha: f64,
    threads: usize,
) -> (f64, Vec<f32>) {
    let named = NamedRow::all(rows);
    let supervised: usize = named.iter().map(|named| named.row.supervised()).sum();
    let randomness = Randomness { seed: 5, dropout: adapter.dropout(), neftune_alpha };
    let mut total = vec![0f32; adapter.values().len()];
    let (weights, mut workers) = (Weights::Every(1.0 / supervised as f64), Workers::new(threads));
    let passed = by(model, adapter, &named, weights, randomness, &mut workers, &mut total).unwrap();
    (passed.loss.mean(), total)
}

fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}
