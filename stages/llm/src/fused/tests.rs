#![allow(clippy::unwrap_used, reason = "a test may panic")]

use refit_checkpoint::{AttentionForm, HostTensor, LayerForm, ModelConfig, RopeScaling, Rotary, RotaryPairs};

use super::ComputePath;
use crate::{
    Device, LlmError, Model, Precision,
    adapter::{Adapter, LoraConfig, Part, TargetModules},
    model::{Batch, OwnedRows, Randomness, Row, Rows, SupervisedLoss, WeightForm},
    random::{Purpose, stream, unit},
    reference::{self, Reference, learnable_rows},
    train::{GradientBy, NamedRow, Trainable, Weights, Workers, accumulate, composed_by_layers, composed_gradient},
    weights::{Selection, TrainedWeights},
};

/// Every family, and shapes of which no size fits a tile: more layers, other heads, other rotary rules.
pub(super) fn models() -> Vec<(String, Model)> {
    let llama = reference::llama();
    let odd = ModelConfig {
        hidden_size: 18,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 10,
        intermediate_size: 37,
        vocab_size: 53,
        tied_head: true,
        layer_forms: turning(10, Some(RopeScaling::Linear { factor: 2.0 })),
        attention: AttentionForm::plain(10),
        ..llama.config.clone()
    };
    let one_head = ModelConfig {
        heads: 1,
        kv_heads: 1,
        head_dim: 16,
        layers: 1,
        tied_head: false,
        layer_forms: turning(16, None),
        attention: AttentionForm::plain(16),
        ..odd.clone()
    };
    let no_groups = ModelConfig { kv_heads: 4, ..reference::qwen2().config };
    let mut models = vec![
        ("llama".to_owned(), llama.model()),
        ("qwen2".into(), reference::qwen2().model()),
        ("odd sizes".into(), random_model(odd)),
        ("one head".into(), random_model(one_head)),
        ("a key head for each query head".into(), random_model(no_groups)),
    ];
    models.extend(reference::families().into_iter().map(|family| (family.name.clone(), family.model(&Device::flex()))));
    models
}

fn turning(width: usize, scaling: Option<RopeScaling>) -> Vec<LayerForm> {
    let rotary = Rotary { width, pairs: RotaryPairs::Halves, base: 100.0, scaling };
    vec![LayerForm { rotary: Some(rotary), window: None }]
}

fn random_model(config: ModelConfig) -> Model {
    let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
    let shapes = config.clone();
    let mut place = 0;
    Model::build(config, &Device::flex(), |name| {
        place += 1;
        let linear = name.rsplit_once('.').and_then(|(path, _)| shapes.linear_at(path));
        let shape = match (linear, name.ends_with("bias")) {
            (Some((_, module)), false) => shapes.linear_shape(module).to_vec(),
            (Some((_, module)), true) => vec![shapes.linear_shape(module)[0]],
            (None, _) if name.contains("norm") => vec![hidden],
            (None, _) => vec![vocabulary, hidden],
        };
        let mut random = stream(3, Purpose::Init, place);
        let norm = name.contains("norm");
        let values = (0..shape.iter().product()).map(|_| (unit(&mut random) - 0.5) * 0.8 + f32::from(u8::from(norm)));
        Ok(HostTensor { values: values.collect(), shape })
    })
    .unwrap()
}

/// An adapter whose B is not zero, so that both matrices have a gradient.
pub(super) fn adapter(model: &Model, targets: TargetModules) -> Adapter {
    let config = LoraConfig { target_modules: targets, rank: 3, ..Reference::lora() };
    let mut adapter = Adapter::initial(config, model, 1).unwrap();
    let mut random = stream(2, Purpose::Init, u64::MAX);
    adapter.values.iter_mut().for_each(|value| *value += (unit(&mut random) - 0.5) * 0.2);
    adapter
}

fn randomness(adapter: &Adapter) -> Randomness {
    Randomness { seed: 5, dropout: adapter.config.dropout, neftune_alpha: 0.0 }
}

pub(super) fn computed_full(
    by: GradientBy,
    model: &Model,
    weights: &TrainedWeights,
    threads: usize,
) -> (f64, Vec<f32>) {
    let mut gradient = vec![0f32; weights.values().len()];
    let (rows, workers, by_targets) = (learnable_rows(7), &mut Workers::new(threads), Weights::Every(0.05));
    let passed =
        by(model, weights, &NamedRow::all(&rows), by_targets, Randomness::default(), workers, &mut gradient).unwrap();
    (passed.loss.mean(), gradient)
}

#[test]
fn gradients_by_weights_are_those_of_burn_operations_and_any_number_of_threads() {
    let some = |patterns: &[&str]| Selection::Matching(patterns.iter().map(|&p| p.to_owned()).collect());
    let selections = [
        Selection::All,
        some(&["_proj|W_pack|query_key_value|dense|embed|layernorm"]),
        some(&["norm"]),
        some(&["model.norm"]),
        some(&["embed_tokens"]),
        some(&["lm_head"]),
        some(&["[qk]_norm"]),
        some(&[r"layers\.0\.mlp\.up", r"layers\.0\.self_attn\.v"]),
        some(&[r"layers\.0\.input_layernorm"]),
    ];
    for (name, model) in models() {
        for selection in &selections {
            let weights = match TrainedWeights::of(&model, selection) {
                // Families name their weights otherwise.
                Err(LlmError::NoWeight { .. }) => continue,
                weights => weights.unwrap(),
            };
            let name = format!("{name}, {selection:?}");
            let found = computed_full(accumulate, &model, &weights, 1);
            for by in [composed_gradient as GradientBy, composed_by_layers] {
                let expected = computed_full(by, &model, &weights, 2);
                assert!((found.0 - expected.0).abs() < 1e-4 * expected.0, "{name}: {} {}", found.0, expected.0);
                for tensor in weights.tensors() {
                    let (found, expected) = (&found.1[tensor.range()], &expected.1[tensor.range()]);
                    let off = norm(found.iter().zip(expected).map(|(a, b)| a - b));
                    assert!(
                        off < 1e-4 * norm(expected.iter().copied()) + 1e-7,
                        "{name}, {}: off by {off}",
                        tensor.name
                    );
                }
            }
            for threads in [2, 3] {
                assert_eq!(found, computed_full(accumulate, &model, &weights, threads), "{name}, {threads} threads");
            }
        }
    }
}

#[test]
fn gradients_by_weights_agree_with_finite_differences() {
    for (name, model) in models() {
        let weights = TrainedWeights::of(&model, &Selection::All).unwrap();
        let (_, slope) = computed_full(accumulate, &model, &weights, 1);
        let length = norm(slope.iter().copied());
        let rows = learnable_rows(7);
        let supervised: usize = (0..rows.len()).map(|row| rows.row(row).supervised()).sum();
        let at = |step: f64| {
            let moved = weights.values().iter().zip(&slope);
            let moved = moved.map(|(value, slope)| value + (step * f64::from(*slope) / length) as f32).collect();
            computed_full(accumulate, &model, &weights.with_values(moved), 1).0 * supervised as f64 * 0.05
        };
        let measured = (at(1e-3) - at(-1e-3)) / 2e-3;
        assert!((measured - length).abs() < 5e-3 * length, "{name}: {measured} {length}");
    }
}

pub(super) fn computed(
    by: GradientBy,
    model: &Model,
    adapter: &Adapter,
    rows: &OwnedRows,
    threads: usize,
) -> (f64, Vec<f32>) {
    let mut gradient = vec![0f32; adapter.values.len()];
    let (weights, mut workers) = (Weights::Every(0.05), Workers::new(threads));
    let passed =
        by(model, adapter, &NamedRow::all(rows), weights, randomness(adapter), &mut workers, &mut gradient).unwrap();
    (passed.loss.mean(), gradient)
}

pub(super) fn norm(values: impl IntoIterator<Item = f32>) -> f64 {
    values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn loss_and_gradient_are_those_of_burn_operations() {
    let some: TargetModules =
        r"model\.layers\.[1-9]\.(self_attn\.[vo]_proj|mlp\.up_proj)|.*\.0\.mlp\.up_proj".to_owned().into();
    for (name, model) in models() {
        let value = model.config().linears.iter().rev().find(|linear| linear.module.is_attention_input()).unwrap();
        let value_alone = TargetModules::Names(vec![value.short_name().into()]);
        for targets in [TargetModules::AllLinear, some.clone(), value_alone] {
            if targets.resolve(model.config()).is_err() {
                continue;
            }
            let adapter = adapter(&model, targets);
            assert!(ComputePath::of(&model).is_fused());
            for count in [1, 7] {
                let rows = learnable_rows(count);
                let (loss, found) = computed(accumulate, &model, &adapter, &rows, 2);
                let (expected_loss, expected) = computed(composed_gradient, &model, &adapter, &rows, 2);
                assert!((loss - expected_loss).abs() < 1e-4 * expected_loss, "{name}: {loss} {expected_loss}");
                for tensor in &adapter.tensors {
                    let (found, expected) = (&found[tensor.range()], &expected[tensor.range()]);
                    let off = norm(found.iter().zip(expected).map(|(a, b)| a - b));
                    assert!(off < 1e-4 * norm(expected.iter().copied()), "{name}, {}: off by {off}", tensor.name());
                }
            }
        }
    }
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    for (name, model) in models() {
        let (adapter, rows) = (adapter(&model, TargetModules::AllLinear), learnable_rows(6));
        let (_, slope) = computed(accumulate, &model, &adapter, &rows, 1);
        let length = norm(slope.iter().copied());
        let supervised: usize = (0..rows.len()).map(|row| rows.row(row).supervised()).sum();
        let at = |step: f64| {
            let mut moved = adapter.clone();
            for (value, slope) in moved.values.iter_mut().zip(&slope) {
                *value += (step * f64::from(*slope) / length) as f32;
            }
            computed(accumulate, &model, &moved, &rows, 1).0 * supervised as f64 * 0.05
        };
        let measured = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!((measured - length).abs() < 5e-3 * length, "{name}: {measured} {length}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (name, model) in models() {
        let (adapter, rows) = (adapter(&model, TargetModules::AllLinear), learnable_rows(9));
        let one = computed(accumulate, &model, &adapter, &rows, 1);
        for threads in [2, 3] {
            assert_eq!(one, computed(accumulate, &model, &adapter, &rows, threads), "{name}, {threads} threads");
        }
    }
}

fn assert_same(name: &str, adapter: &Adapter, found: &(f64, Vec<f32>), expected: &(f64, Vec<f32>)) {
    let (off, size) = ((found.0 - expected.0).abs(), expected.0);
    assert!(off < 1e-4 * size, "{name}: {} {size}", found.0);
    for tensor in &adapter.tensors {
        let (found, expected) = (&found.1[tensor.range()], &expected.1[tensor.range()]);
        let off = norm(found.iter().zip(expected).map(|(a, b)| a - b));
        assert!(off < 1e-4 * norm(expected.iter().copied()), "{name}, {}: off by {off}", tensor.name());
    }
}

#[test]
fn dora_dropout_and_noise_are_those_of_burn_operations_and_any_number_of_threads() {
    let some: TargetModules = r".*\.0\.mlp\..*|.*\.(q|o)_proj".to_owned().into();
    for (name, model) in models() {
        for targets in [TargetModules::AllLinear, some.clone()] {
            let plain = adapter(&model, targets.clone());
            let mut dropped = plain.clone();
            dropped.config.dropout = 0.3;
            let cases = [(dora(&model, targets), 0.0), (plain, 4.0), (dropped, 3.0)];
            for (adapter, neftune_alpha) in cases {
                let name = format!("{name}, dora {}, noise {neftune_alpha}", adapter.config.dora);
                let rows = learnable_rows(7);
                let with = |by: GradientBy, threads: usize| {
                    let mut gradient = vec![0f32; adapter.values.len()];
                    let randomness = Randomness { neftune_alpha, ..randomness(&adapter) };
                    let mut workers = Workers::new(threads);
                    let weights = Weights::Every(0.05);
                    let passed =
                        by(&model, &adapter, &NamedRow::all(&rows), weights, randomness, &mut workers, &mut gradient);
                    (passed.unwrap().loss.mean(), gradient)
                };
                let found = with(accumulate, 1);
                assert_same(&name, &adapter, &found, &with(composed_gradient, 2));
                assert_same(&name, &adapter, &found, &with(composed_by_layers, 2));
                for threads in [2, 3] {
                    assert_eq!(found, with(accumulate, threads), "{name}, {threads} threads");
                }
            }
        }
    }
}

/// An adapter with rows of other lengths than the weights have.
fn dora(model: &Model, targets: TargetModules) -> Adapter {
    let config = LoraConfig { target_modules: targets, rank: 3, dora: true, ..Reference::lora() };
    let mut adapter = Adapter::initial(config, model, 1).unwrap();
    let mut random = stream(2, Purpose::Init, u64::MAX);
    adapter.values.iter_mut().for_each(|value| *value += (unit(&mut random) - 0.5) * 0.2);
    adapter
}

#[test]
fn the_gradient_by_lengths_of_rows_agrees_with_finite_differences() {
    for (name, model) in models() {
        let (adapter, rows) = (dora(&model, TargetModules::AllLinear), learnable_rows(6));
        let (_, mut slope) = computed(accumulate, &model, &adapter, &rows, 1);
        // To the gradient by A and B the lengths of the rows are constants, which a difference cannot hold still.
        for tensor in adapter.tensors.iter().filter(|tensor| tensor.part != Part::Magnitude) {
            slope[tensor.range()].fill(0.0);
        }
        let length = norm(slope.iter().copied());
        let supervised: usize = (0..rows.len()).map(|row| rows.row(row).supervised()).sum();
        let at = |step: f64| {
            let mut moved = adapter.clone();
            for (value, slope) in moved.values.iter_mut().zip(&slope) {
                *value += (step * f64::from(*slope) / length) as f32;
            }
            computed(accumulate, &model, &moved, &rows, 1).0 * supervised as f64 * 0.05
        };
        let measured = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!((measured - length).abs() < 5e-3 * length, "{name}: {measured} {length}");
    }
}

/// The head works on blocks of targets, a training on pieces of rows, and both on what an earlier pass left in memory.
#[test]
fn blocks_pieces_and_used_memory_change_nothing() {
    let model = random_model(ModelConfig { vocab_size: 1 << 17, max_positions: 2048, ..reference::llama().config });
    let adapter = adapter(&model, TargetModules::AllLinear);
    let rows: OwnedRows = (0..3_u32)
        .map(|row| {
            ((0..500).map(|at| (row * 31 + at * 7) % 1000).collect(), (0..500).map(|at| u8::from(at >= 440)).collect())
        })
        .collect();
    let (_, together) = computed(accumulate, &model, &adapter, &rows, 2);
    let mut alone = vec![0f32; adapter.values.len()];
    let mut workers = Workers::new(2);
    for row in NamedRow::all(&rows) {
        let weights = Weights::Every(0.05);
        accumulate(&model, &adapter, &[row], weights, Randomness::default(), &mut workers, &mut alone).unwrap();
    }
    let off = norm(together.iter().zip(&alone).map(|(a, b)| a - b)) / norm(alone.iter().copied());
    assert!(off < 1e-5, "{off}");
    let mut again = vec![0f32; adapter.values.len()];
    let weights = Weights::Every(0.05);
    accumulate(&model, &adapter, &NamedRow::all(&rows), weights, Randomness::default(), &mut workers, &mut again)
        .unwrap();
    assert_eq!(together, again);
}

#[test]
fn a_shared_beginning_changes_neither_loss_nor_gradient() {
    for (name, model) in models() {
        let (adapter, rows) = (adapter(&model, TargetModules::AllLinear), learnable_rows(8));
        let rows: Vec<Row<'_>> = (0..rows.len()).map(|row| rows.row(row)).collect();
        let mut memory = super::Memory::default();
        let changes = adapter.changes(&model).unwrap();
        let mut computed = |share: bool| {
            let batch = Batch::new(&rows, share);
            let mut gradient = vec![0f32; adapter.values.len()];
            let weights = super::TargetWeights::Every(0.05);
            let losses = super::gradient(&model, &changes, &batch, None, weights, &mut memory, &mut gradient).unwrap();
            let by_themselves = super::target_losses(&model, &changes, &batch, &mut memory, None).unwrap();
            assert_eq!(losses, by_themselves, "{name}");
            (batch.computed(), SupervisedLoss::of(&losses).mean(), gradient)
        };
        let (apart, shared) = (computed(false), computed(true));
        assert!(shared.0 < apart.0);
        assert!((shared.1 - apart.1).abs() < 1e-6 * apart.1, "{name}: {} {}", shared.1, apart.1);
        let off = norm(shared.2.iter().zip(&apart.2).map(|(a, b)| a - b)) / norm(apart.2.iter().copied());
        assert!(off < 1e-5, "{name}: {off}");
    }
}

#[test]
fn blocks_computed_again_change_no_bit() {
    for (name, model) in models() {
        let gradient = |trained: &dyn Trainable, randomness: Randomness, workers: &mut Workers| {
            let mut gradient = vec![0f32; trained.values().len()];
            let (rows, weights) = (learnable_rows(9), Weights::Every(0.05));
            let passed =
                accumulate(&model, trained, &NamedRow::all(&rows), weights, randomness, workers, &mut gradient)
                    .unwrap();
            (passed, gradient)
        };
        let all = adapter(&model, TargetModules::AllLinear);
        let with = |config: LoraConfig| Adapter { config, ..all.clone() };
        let dora = LoraConfig { dora: true, ..all.config.clone() };
        let mut trained: Vec<Box<dyn Trainable>> = vec![
            Box::new(all.clone()),
            Box::new(with(LoraConfig { dropout: 0.3, ..all.config.clone() })),
            Box::new(Adapter::initial(dora, &model, 1).unwrap()),
        ];
        let some: TargetModules = r"model\.layers\.1\.mlp\.up_proj".to_owned().into();
        if some.resolve(model.config()).is_ok() {
            trained.push(Box::new(adapter(&model, some)));
        }
        // Not every model has a second block.
        let selections =
            [Selection::All, Selection::Matching(vec!["norm".into()]), Selection::Matching(vec!["1.*norm".into()])];
        for weights in selections.iter().filter_map(|selection| TrainedWeights::of(&model, selection).ok()) {
            trained.push(Box::new(weights));
        }
        for (index, trained) in trained.iter().enumerate() {
            let randomness = Randomness { seed: 5, dropout: trained.dropout(), neftune_alpha: 0.0 };
            let expected = gradient(trained.as_ref(), randomness, &mut Workers::new(2));
            let mut workers = Workers::new(2).with_checkpointing(true);
            for _ in 0..2 {
                let again = gradient(trained.as_ref(), randomness, &mut workers);
                assert_eq!(again, expected, "{name}, {index}");
            }
        }
    }
}

/// bf16 has 8 binary digits; the sums are f32.
#[test]
fn weights_in_bf16_stay_near() {
    let llama = reference::llama();
    let form = |precision| WeightForm { precision, tiles: true, ..WeightForm::default() };
    let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| llama.model_as(form(precision)));
    let (adapter, rows) = (adapter(&exact, TargetModules::AllLinear), learnable_rows(7));
    let (expected_loss, expected) = computed(accumulate, &exact, &adapter, &rows, 2);
    let (loss, found) = computed(accumulate, &rounded, &adapter, &rows, 2);
    assert!((loss - expected_loss).abs() < 5e-3 * expected_loss, "{loss} {expected_loss}");
    let off = norm(found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(expected.iter().copied());
    assert!(off > 0.0 && off < 5e-2, "{off}");
    assert_eq!((loss, found), computed(accumulate, &rounded, &adapter, &rows, 1));
    // Burn operations multiply the same rounded weights, as f32.
    let (composed_loss, composed) = computed(composed_gradient, &rounded, &adapter, &rows, 2);
    assert!((composed_loss - expected_loss).abs() < 5e-3 * expected_loss, "{composed_loss} {expected_loss}");
    let off = norm(composed.iter().zip(&expected).map(|(a, b)| a - b)) / norm(expected.iter().copied());
    assert!(off > 0.0 && off < 3e-2, "{off}");
}
