#![allow(clippy::unwrap_used, reason = "a test may panic")]

use refit_checkpoint::HostTensor;

use super::{
    Batch, HeadOutput, LinearModule, LoraWeights, Model, Noise, Randomness, Row, Rows, Table, Targets, WeightForm, ids,
    lm_head_loss, logits, most_likely, values,
};
use crate::{
    Device, LlmError,
    reference::{self, Reference, learnable_rows},
};

fn close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0f32, |most, v| most.max(v.abs())).max(1e-6);
    let worst = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(worst <= tolerance * size, "{what}: off by {worst} where the largest is {size}");
}

fn logits_of(model: &Model, row: Row<'_>) -> Vec<f32> {
    model.logits(row).unwrap().concat()
}

fn assert_equals_transformers(reference: &Reference) {
    let (base, rows) = (reference.model(), reference.rows());
    let tuned = base.with(&reference.adapter()).unwrap();
    for (model, kind) in [(&base, "base"), (&tuned, "tuned")] {
        let losses = model.row_losses(&rows, |_| {}).unwrap();
        for (index, loss) in losses.iter().enumerate() {
            let expected = reference.values(&format!("{kind}.{index}.logits"));
            close(&logits_of(model, rows.row(index)), &expected, 2e-5, &format!("{kind} logits {index}"));
            let expected_loss = f64::from(reference.values(&format!("{kind}.{index}.loss"))[0]);
            assert!(
                (loss.loss - expected_loss).abs() < 1e-5 * expected_loss,
                "{kind} {index}: {} {expected_loss}",
                loss.loss
            );
            let largest: Vec<u32> = expected
                .chunks(24)
                .map(|l| (0..24).max_by(|a, b| l[*a as usize].total_cmp(&l[*b as usize])).unwrap())
                .collect();
            assert_eq!(loss.argmax, largest);
        }
    }
}

#[test]
fn llama_equals_transformers() {
    assert_equals_transformers(&reference::llama());
}

#[test]
fn qwen2_equals_transformers() {
    assert_equals_transformers(&reference::qwen2());
}

#[test]
fn sharing_a_beginning_and_batching_change_no_loss() {
    let model = reference::llama().model();
    let rows = learnable_rows(9);
    let all: Vec<Row<'_>> = (0..rows.len()).map(|index| rows.row(index)).collect();
    let losses = |rows: &[Row<'_>], share: bool| -> Vec<f32> {
        let losses = model.target_losses(&Batch::new(rows, share)).unwrap();
        losses.into_iter().map(|loss| loss as f32).collect()
    };
    // Targets come in the order the rows are laid out: longest first.
    let order = Batch::new(&all, false).order;
    let alone: Vec<f32> = order.iter().flat_map(|&row| losses(&[all[row]], false)).collect();
    close(&losses(&all, false), &alone, 1e-5, "batched");
    close(&losses(&all, true), &alone, 1e-5, "shared");
}

#[test]
fn rows_the_model_cannot_take_are_named() {
    let model = reference::llama().model();
    let losses = |ids: Vec<u32>, mask: Vec<u8>| model.row_losses(&vec![(vec![1, 2], vec![0, 1]), (ids, mask)], |_| {});
    assert!(matches!(losses(vec![1, 24], vec![0, 1]), Err(LlmError::TokenOutOfRange { row: 1, token: 24, .. })));
    assert!(matches!(losses(vec![1; 65], vec![1; 65]), Err(LlmError::RowTooLong { row: 1, length: 65, limit: 64 })));
    assert!(matches!(losses(vec![1, 2], vec![1, 0]), Err(LlmError::NothingSupervised { row: 1 })));
}

/// A table `[·, width]` on the CPU in shards of at most so many rows.
fn table(values: Vec<f32>, width: usize, most: usize) -> Table {
    let shape = [values.len() / width, width];
    let numbers = HostTensor { shape: shape.into(), values };
    Table::cut("table", numbers.into(), shape, WeightForm::default(), &Device::flex(), most).unwrap()
}

#[test]
fn the_head_works_in_blocks() {
    use burn::tensor::{Tensor, TensorData};
    // A vocabulary so large that two rows do not fit into one block.
    let (rows, width, vocabulary) = (3, 2, (1 << 22) + 1);
    let device = Device::flex();
    let tensor = |count: usize, scale: f32| (0..count).map(|i| ((i % 17) as f32 - 8.0) * scale).collect::<Vec<_>>();
    let hidden = Tensor::<2>::from_data(TensorData::new(tensor(rows * width, 0.3), [rows, width]), &device);
    let head = table(tensor(vocabulary * width, 0.1), width, vocabulary);
    let targets = Targets::new(&[5, 0, 4_194_304], 3, &device);
    let whole = lm_head_loss(hidden.clone(), &head, None, &targets, HeadOutput::Gradient);
    assert_eq!(whole.losses.dims(), [3]);
    assert_eq!(whole.gradient.unwrap().dims(), [3, 2]);
    let alone =
        lm_head_loss(hidden.narrow(0, 2, 1), &head, None, &Targets::new(&[4_194_304], 1, &device), HeadOutput::Losses);
    close(&values(whole.losses).unwrap()[2..], &values(alone.losses).unwrap(), 1e-6, "last row");
}

#[test]
fn shards_of_the_head_give_what_the_whole_gives() {
    use burn::tensor::{Tensor, TensorData};
    let (rows, width, vocabulary) = (7, 6, 50);
    let numbers =
        |count: usize, step: usize| (0..count).map(|i| ((i * step) % 1009) as f32 * 0.004 - 2.0).collect::<Vec<_>>();
    let hidden = Tensor::<2>::from_data(TensorData::new(numbers(rows * width, 389), [rows, width]), &Device::flex());
    let aimed = [0, 49, 16, 15, 31, 16, 32];
    let targets = Targets::new(&aimed, rows, &Device::flex());
    for cap in [None, Some(5.0)] {
        let found = [vocabulary, 16, 7, 1].map(|most| {
            let head = table(numbers(vocabulary * width, 617), width, most);
            assert_eq!((head.shards().len() == 1, head.len()), (most == vocabulary, vocabulary));
            assert!(head.widest() <= most);
            let both = lm_head_loss(hidden.clone(), &head, cap, &targets, HeadOutput::BothGradients);
            let one = lm_head_loss(hidden.clone(), &head, cap, &targets, HeadOutput::Gradient);
            let argmax = lm_head_loss(hidden.clone(), &head, cap, &targets, HeadOutput::Argmax).argmax.unwrap();
            let argmax = ids(argmax).unwrap();
            assert_eq!(ids(most_likely(&hidden, &head, cap)).unwrap(), argmax);
            let logits = Tensor::cat(logits(&hidden, &head, cap).collect(), 1);
            let by_head: Vec<f32> = both.by_head.unwrap().into_iter().flat_map(|part| values(part).unwrap()).collect();
            let numbers =
                [values(one.losses), values(one.gradient.unwrap()), values(both.gradient.unwrap()), values(logits)];
            let rows = values(head.select(targets.ids.clone())).unwrap();
            (numbers.map(Result::unwrap), by_head, argmax, rows, head.rows(3..40).unwrap())
        });
        let whole = &found[0];
        // By itself: the gradient of ln Σ exp − the target's logit, in f64.
        let mut expected = vec![0f64; rows * width];
        let [losses, gradient, _, logits] = &whole.0;
        let weights = numbers(vocabulary * width, 617);
        for (row, (logits, target)) in logits.chunks(vocabulary).zip(aimed.map(|token| token as usize)).enumerate() {
            let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            assert!((f64::from(losses[row]) - (total.ln() - f64::from(logits[target]))).abs() < 1e-5);
            for (token, logit) in logits.iter().enumerate() {
                let slope = cap.map_or(1.0, |cap| 1.0 - (f64::from(*logit) / f64::from(cap)).powi(2));
                let p = f64::from(*logit).exp() / total - f64::from(u8::from(token == target));
                let by = &weights[token * width..][..width];
                expected[row * width..][..width]
                    .iter_mut()
                    .zip(by)
                    .for_each(|(sum, w)| *sum += p * slope * f64::from(*w));
            }
        }
        let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
        close(gradient, &expected, 1e-5, "gradient");
        for (numbers, by_head, argmax, rows, some) in &found[1..] {
            for (found, expected) in numbers.iter().zip(&whole.0) {
                close(found, expected, 1e-5, "shards");
            }
            close(by_head, &whole.1, 1e-5, "by the head");
            assert_eq!((argmax, rows, some), (&whole.2, &whole.3, &whole.4));
        }
    }
}

#[test]
fn an_impossible_target_has_a_finite_loss() {
    use burn::tensor::{Tensor, TensorData};
    let device = Device::flex();
    let hidden = Tensor::<2>::from_data(TensorData::new(vec![1.0f32], [1, 1]), &device);
    let head = table(vec![0.0, 300.0], 1, 2);
    let loss = lm_head_loss(hidden, &head, None, &Targets::new(&[0], 1, &device), HeadOutput::Losses);
    assert!((values(loss.losses).unwrap()[0] - 300.0).abs() < 1e-3);
}

fn noise_of(randomness: Randomness, rows: &[(u64, usize)]) -> Noise {
    let ids: Vec<Vec<u32>> = rows.iter().map(|(_, tokens)| vec![1; tokens + 1]).collect();
    let masks: Vec<Vec<u8>> = rows.iter().map(|(_, tokens)| [vec![0; *tokens], vec![1]].concat()).collect();
    let batch: Vec<Row<'_>> = ids.iter().zip(&masks).map(|(ids, mask)| Row { ids, mask }).collect();
    Noise::of(randomness, &Batch::new(&batch, false), |row| (rows[row].0, ids[row].len())).unwrap()
}

#[test]
fn dropout_keeps_the_mean_and_belongs_to_the_row_not_to_the_batch() {
    let drop = |rows: &[(u64, usize)], some: Option<&[u32]>| {
        let noise = noise_of(Randomness { seed: 7, dropout: 0.25, ..Randomness::default() }, rows);
        values(noise.mask(1, LinearModule::Down, 64, some).tensor(&Device::flex())).unwrap()
    };
    // Rows are laid out by length.
    let both = drop(&[(3, 50), (8, 70)], None);
    assert_eq!(both[..70 * 64], drop(&[(8, 70)], None));
    assert_ne!(both[70 * 64..], drop(&[(4, 50)], None));
    assert_eq!(drop(&[(3, 50), (8, 70)], Some(&[71, 3])), [&both[71 * 64..72 * 64], &both[3 * 64..4 * 64]].concat());
    let zero = both.iter().filter(|v| **v == 0.0).count() as f64 / both.len() as f64;
    assert!((zero - 0.25).abs() < 0.02, "{zero}");
    let mean = both.iter().sum::<f32>() / both.len() as f32;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}

#[test]
fn noise_on_embeddings_is_bounded_by_the_size_of_its_row() {
    let disturb = |rows: &[(u64, usize)]| {
        let tokens = rows.iter().map(|(_, tokens)| tokens).sum::<usize>();
        let mut values = vec![0f32; tokens * 32];
        noise_of(Randomness { seed: 7, neftune_alpha: 5.0, ..Randomness::default() }, rows).disturb(&mut values, 32);
        values
    };
    let both = disturb(&[(3, 99), (8, 49)]);
    assert_eq!(both[99 * 32..], disturb(&[(8, 49)]));
    for (part, length) in [(&both[..99 * 32], 100.0f32), (&both[99 * 32..], 50.0)] {
        let bound = 5.0 / (length * 32.0).sqrt();
        assert!(part.iter().all(|v| v.abs() <= bound) && part.iter().any(|v| v.abs() > 0.95 * bound));
        let mean = part.iter().sum::<f32>() / part.len() as f32;
        assert!(mean.abs() < 0.05 * bound, "{mean} {bound}");
    }
}

#[test]
fn the_first_part_that_is_not_finite_is_named() {
    let reference = reference::llama();
    let (model, rows, mut adapter) = (reference.model(), reference.rows(), reference.adapter());
    assert_eq!(model.first_bad(&adapter, &[rows.row(0)]).unwrap(), None);
    let second_layer = adapter.tensors.iter().find(|t| t.layer == 1).unwrap().start;
    for value in &mut adapter.values[second_layer..] {
        *value = 3e30;
    }
    assert_eq!(model.first_bad(&adapter, &[rows.row(0)]).unwrap().as_deref(), Some("layer 1"));
    adapter.values[0] = f32::NAN;
    assert!(model.first_bad(&adapter, &[rows.row(0)]).unwrap().unwrap().contains("layers.0.self_attn.q_proj"));
}

#[test]
fn an_adapter_without_values_changes_nothing() {
    let reference = reference::qwen2();
    let (model, rows) = (reference.model(), reference.rows());
    let zero = crate::adapter::Adapter::initial(Reference::lora(), &model, 3).unwrap();
    let with = model.with(&zero).unwrap().row_losses(&rows, |_| {}).unwrap();
    assert_eq!(with, model.row_losses(&rows, |_| {}).unwrap());
    assert_eq!(LoraWeights::none(2).layers.len(), 2);
}
