use std::{collections::HashMap, ops::ControlFlow};

use burn::tensor::{Device, Tensor, TensorData};
use burn_cubecl::cubecl::{
    device::WgpuDevice,
    wgpu::{AutoGraphicsApi, RuntimeOptions, try_init_setup},
};
use refit_checkpoint::{BlockFormat, HostTensor, ModelConfig, PackedTensor, StoredTensor};

use super::runtime::keep_to_memory;
use super::{
    Selected, Shaders, is_cpu,
    limited::limited,
    select, self_check,
    self_check::{random_model, tiny_adapter, tiny_model},
};
use crate::{
    LlmError, Model, Precision,
    adapter::Adapter,
    bottleneck::{BottleneckAdapter, BottleneckConfig, BottleneckKind, NonLinearity, ReductionFactor},
    generate::{GenerationOptions, Prompt, Sampling},
    model::{
        Frozen, HeadOutput, OwnedRows, Quantization, Randomness, Targets, WeightForm, lm_head_loss, takes_halves,
        values,
    },
    reference::{blocks, families, in_blocks, learnable_rows, numbers},
    train::{
        GradientBy, NamedRow, TrainConfig, TrainEvent, TrainSettings, Trainable, Trained, Weights, Workers, accumulate,
        composed_gradient, train,
    },
    weights::{Selection, TrainedWeights},
};

fn lora(device: &Device) -> Vec<f64> {
    let model = tiny_model(device).unwrap();
    losses(&model, Adapter::initial(tiny_adapter(), &model, 5).unwrap())
}

/// The loss of each of a few optimizer steps on a model's device.
fn losses<T: Trainable>(model: &Model, initial: T) -> Vec<f64> {
    trained(model, &[], initial, 1).history.iter().map(|row| row.loss).collect()
}

/// What a training of steps of two rows leaves, so many batches a step, on a model's device and those of its copies.
fn trained<T: Trainable>(model: &Model, copies: &[Model], initial: T, batches: usize) -> Trained<T> {
    let rows = short_rows();
    let (batch_size, accumulation) = (2 / batches, batches);
    let config = TrainConfig { epochs: 10, batch_size, accumulation, learning_rate: 1e-2, ..TrainConfig::default() };
    let settings = TrainSettings { threads: 1, copies: copies.to_vec(), ..TrainSettings::default() };
    let mut held = Vec::new();
    let mut on_event = |event: TrainEvent<'_>| {
        if let TrainEvent::Step { .. } = event {
            let usage = copies.iter().chain([model]).filter_map(|model| {
                model.device().sync().unwrap();
                model.device().memory_pool_usage()
            });
            held.push(usage.fold((0, 0), |sum, usage| (sum.0 + usage.bytes_in_use, sum.1 + usage.bytes_reserved)));
        }
        ControlFlow::Continue(())
    };
    let trained = train(model, initial, &rows, None, &config, &settings, &mut on_event).unwrap();
    // The first steps fill the pools of a device.
    let after = held[2];
    assert!(held[3..].iter().all(|held| held.0 <= after.0 && held.1 <= after.1), "{held:?}");
    trained
}

/// Rows of one length, so that a software driver compiles its kernels once.
fn short_rows() -> OwnedRows {
    (0..4_u32).map(|row| ((0..6).map(|at| (row * 7 + at * 3) % 20).collect(), vec![0, 0, 0, 1, 1, 1])).collect()
}

/// The software Vulkan driver stands in for a GPU where there is none.
fn adapter_of_wgpu() -> Option<Selected> {
    Some(adapters_of_wgpu("wgpu")?.swap_remove(0))
}

pub(super) fn adapters_of_wgpu(choice: &str) -> Option<Vec<Selected>> {
    match select(&choice.parse().unwrap()) {
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

#[test]
#[ignore = "a software driver takes minutes: kernels are compiled and tried out on each device"]
fn two_devices_train_as_one_does() {
    // Opened as the best one and by its number, one adapter is two devices.
    let Some(selected) = adapters_of_wgpu("wgpu,wgpu:0") else { return };
    let models: Vec<Model> = selected.iter().map(|selected| tiny_model(&selected.device).unwrap()).collect();
    assert_ne!(models[0].device(), models[1].device());
    let initial = Adapter::initial(tiny_adapter(), &models[0], 5).unwrap();
    let alone = trained(&models[0], &[], initial.clone(), 2);
    let shared = trained(&models[0], &models[1..], initial, 2);
    // Each device finds its own fastest kernels, which may sum in another order.
    let same = |a: f64, b: f64| (a - b).abs() < 1e-5 * a.abs().max(1.0);
    for (alone, shared) in alone.history.iter().zip(&shared.history) {
        assert!(same(alone.loss, shared.loss), "{alone:?} {shared:?}");
    }
    assert_eq!(alone.history.len(), shared.history.len());
    let values = alone.last.values.iter().zip(&shared.last.values);
    assert!(values.clone().all(|(alone, shared)| same(f64::from(*alone), f64::from(*shared))));
    assert!(values.count() > 100);
}

#[test]
fn wgpu_gets_wgsl_where_it_is_software() {
    let Some(selected) = adapter_of_wgpu() else { return };
    if selected.software {
        assert_eq!(selected.shaders, Some(Shaders::Wgsl), "{}", selected.name);
    }
    let sum = Tensor::<1>::ones([1000], &selected.device).sum();
    assert_eq!(values(sum).unwrap(), [1000.0]);
}

#[test]
#[ignore = "software drivers crash with many a kernel in SPIR-V"]
fn wgpu_computes_with_spirv() {
    keep_to_memory();
    let device = WgpuDevice::default();
    if try_init_setup::<AutoGraphicsApi>(&device, RuntimeOptions::try_default().unwrap()).is_err() {
        eprintln!("skipped: no adapter for wgpu on this machine");
        return;
    }
    assert_eq!(Shaders::of(&device), Shaders::SpirV);
    let tensor = Tensor::<1>::from_data(TensorData::new(vec![1.0f32, 2.0, 3.0], [3]), &Device::from(device));
    assert_eq!(values(tensor.clone() * tensor + 1.0).unwrap(), [2.0, 5.0, 10.0]);
}

#[test]
fn an_adapter_that_is_asked_for_twice_is_refused() {
    let found = select(&"wgpu:1,wgpu:0,wgpu:1".parse().unwrap());
    assert!(found.is_err_and(|error| error.to_string().contains("wgpu:1 is asked for twice")));
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
fn wgpu_keeps_bf16_in_half_the_memory() {
    let Some(selected) = adapter_of_wgpu() else { return };
    if !takes_halves(&selected.device) {
        eprintln!("skipped: {} has no f16", selected.name);
        return;
    }
    let form = WeightForm { precision: Precision::Bf16, ..WeightForm::default() };
    let mut numbers: Vec<f32> = numbers("w", 6 * 32).map(|number| number * 0.3).collect();
    let frozen = |numbers: &[f32]| {
        let matrix = HostTensor { shape: vec![6, 32], values: numbers.to_vec() };
        Frozen::new("w", matrix.into(), [6, 32], form, &selected.device).unwrap()
    };
    let rounded = |numbers: &[f32]| -> Vec<f32> { numbers.iter().map(|n| half::bf16::from_f32(*n).to_f32()).collect() };
    let halves = frozen(&numbers);
    let expected = rounded(&numbers);
    assert_eq!((halves.kept(), halves.numbers()), ((None, 2 * numbers.len()), numbers.len()));
    assert_eq!(values(halves.tensor()).unwrap(), expected);
    assert_eq!(halves.rows(&[4, 1]).unwrap(), [&expected[4 * 32..5 * 32], &expected[32..64]].concat());
    // What f16 cannot hold stays as it is.
    numbers[7] = 1e6;
    let whole = frozen(&numbers);
    assert_eq!(whole.kept().1, 4 * numbers.len());
    assert_eq!(values(whole.tensor()).unwrap(), rounded(&numbers));
}

#[test]
#[ignore = "a software driver takes a minute"]
fn wgpu_trains_on_halves_as_the_cpu_does() {
    let Some(selected) = adapter_of_wgpu() else { return };
    let rows = short_rows();
    let [expected, found] = [&Device::flex(), &selected.device].map(|device| {
        let form = WeightForm { precision: Precision::Bf16, ..WeightForm::default() };
        let model = random_model(tiny_model(device).unwrap().config().clone(), form, device).unwrap();
        assert_eq!(model.unpacks_for_each_use(), takes_halves(device));
        let mut adapter = Adapter::initial(tiny_adapter(), &model, 5).unwrap();
        adapter.values.iter_mut().zip(numbers("adapter", usize::MAX)).for_each(|(value, n)| *value += 0.1 * n);
        let mut gradient = vec![0f32; adapter.values.len()];
        let (rows, weights, mut workers) = (NamedRow::all(&rows), Weights::Every(0.1), Workers::new(1));
        let by = composed_gradient as GradientBy;
        let passed = by(&model, &adapter, &rows, weights, Randomness::default(), &mut workers, &mut gradient).unwrap();
        (passed.loss.mean(), gradient)
    });
    assert!((found.0 - expected.0).abs() < 1e-5 * expected.0, "{} {}", found.0, expected.0);
    let off = distance(&found.1, &expected.1);
    assert!(off < 1e-4, "off by {off}");
}

/// Bytes of a buffer and storage buffers of a kernel of the least adapter that WebGPU allows, but for the buffers: those are
/// smaller still, so that a small model meets their end.
const LARGEST: usize = 8 << 20;
const BINDINGS: u32 = 8;

/// A Llama whose embedding and head are larger than [`LARGEST`] each.
fn wide_vocabulary(quantization: Quantization, device: &Device) -> Model {
    let config = ModelConfig::from_json(
        r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 40000, "max_position_embeddings": 2048,
            "tie_word_embeddings": false}"#,
    )
    .unwrap();
    let shapes: HashMap<String, Vec<usize>> = config.tensors().collect();
    let form = WeightForm { quantization, tiles: is_cpu(device), ..WeightForm::default() };
    Model::build_as(config, device, form, |name| {
        let values: Vec<f32> = numbers(name, shapes[name].iter().product()).map(|number| number * 0.5).collect();
        let format = BlockFormat::Q8_0;
        Ok(match *shapes[name] {
            [rows, columns] if quantization == Quantization::Keep => StoredTensor::from(PackedTensor {
                format,
                shape: [rows, columns],
                bytes: refit_blocks::quantize(format, &values).unwrap(),
            }),
            ref shape => HostTensor { shape: shape.to_vec(), values }.into(),
        })
    })
    .unwrap()
}

/// Loss and gradient of some rows, and their answers.
fn computed(model: &Model, trained: &dyn Trainable) -> (f64, Vec<f32>, Vec<u32>) {
    let rows = learnable_rows(5);
    let mut gradient = vec![0f32; trained.values().len()];
    let (weights, mut workers) = (Weights::Every(0.05), Workers::new(1));
    let rows = NamedRow::all(&rows);
    let passed =
        accumulate(model, trained, &rows, weights, Randomness::default(), &mut workers, &mut gradient).unwrap();
    let prompt = Prompt { ids: vec![1, 39_999, 20_000, 7], name: 0 };
    let sampling = Sampling::default();
    let options = GenerationOptions { max_new_tokens: 3, stop: &[], stop_strings: None, batch_size: 1, sampling };
    let answer = model.generate(&[prompt], options, |_| {}).unwrap().answers.remove(0);
    (passed.loss.mean(), gradient, answer.ids)
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    assert_eq!(found.len(), expected.len());
    length(&mut found.iter().zip(expected).map(|(found, expected)| found - expected))
        / length(&mut expected.iter().copied())
}

fn limited_adapter() -> Option<Device> {
    let device = limited(LARGEST as u64, BINDINGS);
    if device.is_none() {
        eprintln!("skipped: no adapter for wgpu on this machine");
    }
    device
}

#[test]
fn tables_are_cut_for_wgpu_with_small_buffers_and_give_what_the_cpu_gives() {
    let Some(device) = limited_adapter() else { return };
    let hidden: Vec<f32> = numbers("hidden", 6 * 64).map(|number| number * 0.5).collect();
    for (quantization, want) in
        [(Quantization::Unpack, HeadOutput::BothGradients), (Quantization::Keep, HeadOutput::Gradient)]
    {
        let [expected, found] = [&Device::flex(), &device].map(|device| {
            let model = wide_vocabulary(quantization, device);
            assert_eq!(model.head.shards().len() > 1, !is_cpu(device));
            let hidden = Tensor::from_data(TensorData::new(hidden.clone(), [6, 64]), device);
            let targets = Targets::new(&[0, 39_999, 20_000, 7, 19_999, 7], 6, device);
            let found = lm_head_loss(hidden, &model.head, None, &targets, want);
            let rows = model.embedding.select(targets.ids);
            let by_head = found.by_head.into_iter().flatten().flat_map(|shard| values(shard).unwrap()).collect();
            [values(found.losses).unwrap(), values(found.gradient.unwrap()).unwrap(), by_head, values(rows).unwrap()]
        });
        for (found, expected) in found.iter().zip(&expected).filter(|(_, expected)| !expected.is_empty()) {
            let off = distance(found, expected);
            assert!(off < 1e-5, "{quantization:?}: off by {off}");
        }
    }
    let model = wide_vocabulary(Quantization::Unpack, &device);
    let row = (vec![1; 1200], vec![1; 1200]);
    let error = model.row_losses(&vec![row], |_| {}).unwrap_err();
    assert!(matches!(error, LlmError::PassTooLarge { limit: LARGEST, .. }), "{error}");
    assert!(error.to_string().contains("attention scores of 1 rows of 1280 tokens"), "{error}");
    let shape = [1 << 12, 1 << 10];
    let matrix = HostTensor { shape: shape.into(), values: vec![0.5; 1 << 22] };
    let error = Frozen::new("down.weight", matrix.into(), shape, WeightForm::default(), &device).unwrap_err();
    assert!(matches!(error, LlmError::WeightTooLarge { bytes: 16_777_216, limit: LARGEST, .. }), "{error}");
}

#[test]
#[ignore = "a software driver takes minutes"]
fn wgpu_with_small_buffers_and_few_bindings_trains_as_the_cpu_does() {
    let Some(device) = limited_adapter() else { return };
    for quantization in [Quantization::Unpack, Quantization::Keep] {
        let [expected, found] = [&Device::flex(), &device].map(|device| {
            let model = wide_vocabulary(quantization, device);
            if quantization == Quantization::Unpack {
                computed(&model, &TrainedWeights::of(&model, &Selection::All).unwrap())
            } else {
                computed(&model, &Adapter::initial(tiny_adapter(), &model, 5).unwrap())
            }
        });
        assert!((found.0 - expected.0).abs() < 1e-5 * expected.0, "{quantization:?}: {} {}", found.0, expected.0);
        let off = distance(&found.1, &expected.1);
        assert!(off < 1e-4, "{quantization:?}: off by {off}");
        assert_eq!(found.2, expected.2, "{quantization:?}");
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
