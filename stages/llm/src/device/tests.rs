use std::ops::ControlFlow;

use burn::tensor::Device;
use refit_checkpoint::BlockFormat;

use super::{
    DeviceChoice, Selected, is_cpu, select, self_check,
    self_check::{tiny_adapter, tiny_model},
};
use crate::{
    Model,
    adapter::Adapter,
    bottleneck::{BottleneckAdapter, BottleneckConfig, BottleneckKind, NonLinearity, ReductionFactor},
    model::{Frozen, OwnedRows, Quantization, Randomness, WeightForm, values},
    reference::{blocks, families, in_blocks, learnable_rows, numbers},
    train::{NamedRow, TrainConfig, TrainEvent, TrainSettings, Trainable, Weights, Workers, accumulate, train},
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
    let config = TrainConfig { epochs: 10, batch_size: 2, learning_rate: 1e-2, ..TrainConfig::default() };
    let settings = TrainSettings { threads: 1, ..TrainSettings::default() };
    let mut held = Vec::new();
    let mut on_event = |event: TrainEvent<'_>| {
        if let TrainEvent::Step { .. } = event {
            model.device().sync().unwrap();
            held.extend(model.device().memory_pool_usage().map(|usage| (usage.bytes_in_use, usage.bytes_reserved)));
        }
        ControlFlow::Continue(())
    };
    let trained = train(model, initial, &rows, None, &config, &settings, &mut on_event).unwrap();
    // The first steps fill the pools of a device.
    if let Some(after) = held.get(2) {
        assert!(held[3..].iter().all(|held| held.0 <= after.0 && held.1 <= after.1), "{held:?}");
    }
    trained.history.iter().map(|row| row.loss).collect()
}

/// The software Vulkan driver stands in for a GPU where there is none.
fn adapter_of_wgpu() -> Option<Selected> {
    match select(DeviceChoice::Wgpu(None)) {
        Ok(selected) => Some(selected),
        Err(error) => {
            eprintln!("skipped: no adapter for wgpu on this machine ({error})");
            None
        }
    }
}

#[test]
fn wgpu_trains_step_by_step_as_the_cpu_does() {
    let Some(selected) = adapter_of_wgpu() else { return };
    self_check(&selected.device, tiny_model(&Device::flex()).unwrap().config()).unwrap();
    assert_same(&lora(&Device::flex()), &lora(&selected.device), &selected.name);
}

fn assert_same(expected: &[f64], found: &[f64], device: &str) {
    assert_eq!(expected.len(), 20);
    assert!(expected[18] + expected[19] < expected[0] + expected[1], "{expected:?}");
    for (step, (expected, found)) in expected.iter().zip(found).enumerate() {
        let off = (expected - found).abs();
        assert!(off <= 1e-3 * expected.abs(), "step {step}: {expected} on the CPU, {found} on {device}");
    }
}

#[test]
fn wgpu_unpacks_every_format_as_the_cpu_does() {
    let Some(selected) = adapter_of_wgpu() else { return };
    let form = WeightForm { quantization: Quantization::Keep, ..WeightForm::default() };
    for format in BlockFormat::ALL {
        let packed = blocks(format, [6, 512], "w");
        let expected = format.decode(&packed.bytes);
        let frozen = Frozen::new("w", packed.into(), [6, 512], form, &selected.device).unwrap();
        assert_eq!(frozen.kept().0, Some(format));
        assert_eq!(values(frozen.tensor()).unwrap(), expected, "{format}");
        assert_eq!(
            frozen.rows(&[4, 1]).unwrap(),
            [&expected[4 * 512..5 * 512], &expected[512..1024]].concat(),
            "{format}"
        );
    }
}

#[test]
fn blocks_take_as_much_memory_of_a_device_as_is_said() {
    let Some(Selected { device, .. }) = adapter_of_wgpu() else { return };
    let in_use = || {
        device.sync().unwrap();
        device.memory_pool_usage().unwrap().bytes_in_use as f64
    };
    for quantization in [Quantization::Keep, Quantization::Unpack] {
        let before = in_use();
        let model = in_blocks(BlockFormat::Q4_1, WeightForm { quantization, ..WeightForm::default() }, &device);
        let (taken, said) = (in_use() - before, model.weights_kept().bytes as f64);
        eprintln!("{quantization:?}: {taken} bytes taken, {said} said");
        assert!(taken >= said && taken < 1.1 * said, "{quantization:?}: {taken} {said}");
    }
}

#[test]
#[ignore = "a software driver takes a minute"]
fn wgpu_trains_on_blocks_of_every_format_as_the_cpu_does() {
    let Some(selected) = adapter_of_wgpu() else { return };
    let form = WeightForm { quantization: Quantization::Keep, ..WeightForm::default() };
    let rows = learnable_rows(3);
    for format in BlockFormat::ALL {
        let [expected, found] = [&Device::flex(), &selected.device].map(|device| {
            let form = WeightForm { tiles: is_cpu(device), ..form };
            let model = in_blocks(format, form, device);
            let mut adapter = Adapter::initial(tiny_adapter(), &model, 5).unwrap();
            adapter
                .values
                .iter_mut()
                .zip(numbers("adapter", usize::MAX))
                .for_each(|(value, number)| *value += 0.1 * number);
            let mut gradient = vec![0f32; adapter.values.len()];
            let (rows, weights) = (NamedRow::all(&rows), Weights::Every(0.1));
            let mut workers = Workers::new(1);
            let passed =
                accumulate(&model, &adapter, &rows, weights, Randomness::default(), &mut workers, &mut gradient)
                    .unwrap();
            (passed.loss.mean(), gradient)
        });
        let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let off: Vec<f32> = found.1.iter().zip(&expected.1).map(|(found, expected)| found - expected).collect();
        assert!((found.0 - expected.0).abs() < 1e-5 * expected.0, "{format}: {} {}", found.0, expected.0);
        assert!(length(&off) < 1e-4 * length(&expected.1), "{format}: {} {}", length(&off), length(&expected.1));
    }
}

#[test]
#[ignore = "a software driver takes a minute for each"]
fn wgpu_trains_bottlenecks_step_by_step_as_the_cpu_does() {
    let Some(selected) = adapter_of_wgpu() else { return };
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
    let Some(selected) = adapter_of_wgpu() else { return };
    let mut failed = Vec::new();
    for family in families() {
        let began = std::time::Instant::now();
        let found = self_check(&selected.device, &family.config);
        eprintln!("{}: {:.0} s, {found:?}", family.name, began.elapsed().as_secs_f64());
        failed.extend(found.err().map(|_| family.name));
    }
    assert!(failed.is_empty(), "{failed:?}");
}
