use std::ops::ControlFlow;

use burn::tensor::Device;

use super::{
    DeviceChoice, select, self_check,
    self_check::{tiny_adapter, tiny_model},
};
use crate::{
    adapter::Adapter,
    model::{OwnedRows, Randomness, Rows},
    reference::{FamilyReference, families},
    train::{NamedRow, TrainConfig, TrainSettings, Weights, Workers, composed_gradient, train},
};

/// The loss of each of a few optimizer steps on a device.
fn losses(device: &Device) -> Vec<f64> {
    let model = tiny_model(device).unwrap();
    let initial = Adapter::initial(tiny_adapter(), &model, 5).unwrap();
    // Rows of one length, so that a software driver compiles its kernels once.
    let rows: OwnedRows =
        (0..4_u32).map(|row| ((0..6).map(|at| (row * 7 + at * 3) % 20).collect(), vec![0, 0, 0, 1, 1, 1])).collect();
    let config = TrainConfig { epochs: 4, batch_size: 2, learning_rate: 1e-2, ..TrainConfig::default() };
    let settings = TrainSettings { threads: 1, snapshot: None };
    let trained = train(&model, initial, &rows, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
    trained.history.iter().map(|row| row.loss).collect()
}

/// The software Vulkan driver stands in for a GPU where there is none.
#[test]
fn wgpu_trains_step_by_step_as_the_cpu_does() {
    let selected = match select(DeviceChoice::Wgpu(None)) {
        Ok(selected) => selected,
        Err(error) => {
            eprintln!("skipped: no adapter for wgpu on this machine ({error})");
            return;
        }
    };
    self_check(&selected.device).unwrap();
    let (expected, found) = (losses(&Device::flex()), losses(&selected.device));
    assert_eq!(expected.len(), 8);
    assert!(expected[6] + expected[7] < expected[0] + expected[1], "{expected:?}");
    for (step, (expected, found)) in expected.iter().zip(&found).enumerate() {
        assert!(
            (expected - found).abs() <= 1e-3 * expected.abs(),
            "step {step}: {expected} on the CPU, {found} on {}",
            selected.name
        );
    }
}

/// Loss and gradient of a tiny model of every family.
#[test]
#[ignore = "a software driver takes minutes for each family: its kernels are compiled for every shape"]
fn wgpu_computes_every_family_as_the_cpu_does() {
    let selected = match select(DeviceChoice::Wgpu(None)) {
        Ok(selected) => selected,
        Err(error) => {
            eprintln!("skipped: no adapter for wgpu on this machine ({error})");
            return;
        }
    };
    let rows = FamilyReference::rows();
    let row = NamedRow { row: rows.row(2), index: 0, name: 0 };
    for family in families() {
        let computed = |device: &Device| {
            let model = family.model(device);
            let adapter = FamilyReference::adapter(&model);
            let mut gradient = vec![0f32; adapter.values.len()];
            let randomness = Randomness { seed: 0, dropout: 0.0, neftune_alpha: 0.0 };
            let workers = &mut Workers::new(1);
            let weights = Weights::Every(1.0);
            let passed =
                composed_gradient(&model, &adapter, &[row], weights, randomness, workers, &mut gradient).unwrap();
            (passed.loss.mean(), gradient)
        };
        let ((loss, gradient), (found_loss, found)) = (computed(&Device::flex()), computed(&selected.device));
        let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let off = length(&mut found.iter().zip(&gradient).map(|(a, b)| a - b)) / length(&mut gradient.iter().copied());
        eprintln!("{}: loss {loss:.6} and {found_loss:.6}, gradient off by {off:.1e}", family.name);
        assert!((loss - found_loss).abs() <= 1e-4 * loss && off <= 1e-3, "{}", family.name);
    }
}
