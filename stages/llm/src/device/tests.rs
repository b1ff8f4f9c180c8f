use std::ops::ControlFlow;

use burn::tensor::Device;

use super::{
    DeviceChoice, select, self_check,
    self_check::{tiny_adapter, tiny_model},
};
use crate::{
    Model,
    adapter::Adapter,
    bottleneck::{BottleneckAdapter, BottleneckConfig, BottleneckKind, NonLinearity, ReductionFactor},
    model::OwnedRows,
    reference::families,
    train::{TrainConfig, TrainSettings, Trainable, train},
};

fn lora(device: &Device) -> Vec<f64> {
    let model = tiny_model(device).unwrap();
    losses(&model, Adapter::initial(tiny_adapter(), &model, 5).unwrap())
}

/// The loss of each of a few optimizer steps on a model's device.
fn losses<T: Trainable>(model: &Model, initial: T) -> Vec<f64> {
    // Rows of one length, so that a software driver compiles its kernels once.
    let rows: OwnedRows =
        (0..4_u32).map(|row| ((0..6).map(|at| (row * 7 + at * 3) % 20).collect(), vec![0, 0, 0, 1, 1, 1])).collect();
    let config = TrainConfig { epochs: 4, batch_size: 2, learning_rate: 1e-2, ..TrainConfig::default() };
    let settings = TrainSettings { threads: 1, ..TrainSettings::default() };
    let trained = train(model, initial, &rows, None, &config, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
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
    self_check(&selected.device, tiny_model(&Device::flex()).unwrap().config()).unwrap();
    assert_same(&lora(&Device::flex()), &lora(&selected.device), &selected.name);
}

fn assert_same(expected: &[f64], found: &[f64], device: &str) {
    assert_eq!(expected.len(), 8);
    assert!(expected[6] + expected[7] < expected[0] + expected[1], "{expected:?}");
    for (step, (expected, found)) in expected.iter().zip(found).enumerate() {
        let off = (expected - found).abs();
        assert!(off <= 1e-3 * expected.abs(), "step {step}: {expected} on the CPU, {found} on {device}");
    }
}

#[test]
#[ignore = "a software driver takes a minute for each"]
fn wgpu_trains_bottlenecks_step_by_step_as_the_cpu_does() {
    let selected = match select(DeviceChoice::Wgpu(None)) {
        Ok(selected) => selected,
        Err(error) => {
            eprintln!("skipped: no adapter for wgpu on this machine ({error})");
            return;
        }
    };
    let acts = [NonLinearity::Swish, NonLinearity::Relu, NonLinearity::Tanh];
    for (kind, non_linearity) in
        [BottleneckKind::Houlsby, BottleneckKind::Pfeiffer, BottleneckKind::Parallel].into_iter().zip(acts)
    {
        let [expected, found] = [&Device::flex(), &selected.device].map(|device| {
            let model = tiny_model(device).unwrap();
            let reduction_factor = ReductionFactor::Every(4.0);
            let config = BottleneckConfig { reduction_factor, non_linearity, ..BottleneckConfig::of(kind) };
            losses(&model, BottleneckAdapter::initial(config, model.config(), 5).unwrap())
        });
        assert_same(&expected, &found, &selected.name);
    }
}

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled for the parts of every family"]
fn wgpu_passes_its_check_with_the_parts_of_every_family() {
    let selected = match select(DeviceChoice::Wgpu(None)) {
        Ok(selected) => selected,
        Err(error) => {
            eprintln!("skipped: no adapter for wgpu on this machine ({error})");
            return;
        }
    };
    let mut failed = Vec::new();
    for family in families() {
        let began = std::time::Instant::now();
        let found = self_check(&selected.device, &family.config);
        eprintln!("{}: {:.0} s, {found:?}", family.name, began.elapsed().as_secs_f64());
        failed.extend(found.err().map(|_| family.name));
    }
    assert!(failed.is_empty(), "{failed:?}");
}
