//! Every family beside transformers and PEFT: `tests/reference/families.py`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::{Batch, Model, Randomness, Row, Rows};
use crate::{
    Device,
    adapter::Adapter,
    fused::{Changes, Memory, target_losses},
    generate::{GenerationOptions, Prompt, Sampling},
    reference::{FamilyReference, families, learnable_rows},
    train::{NamedRow, Weights, Workers, accumulate, composed_gradient},
};

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0f32, |most, v| most.max(v.abs())).max(1e-6);
    let worst = found.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(worst <= 1e-4 * size, "{what}: off by {worst} where the largest is {size}");
}

fn logits(model: &Model, row: Row<'_>) -> Vec<f32> {
    model.logits(row).unwrap().concat()
}

/// The mean loss of some rows, each by itself, and its gradient.
fn gradient(model: &Model, adapter: &Adapter, rows: &dyn Rows, fused: bool) -> (f64, Vec<f32>) {
    let all: Vec<Row<'_>> = (0..rows.len()).map(|index| rows.row(index)).collect();
    let supervised: usize = all.iter().map(Row::supervised).sum();
    let by = if fused { accumulate } else { composed_gradient };
    let (mut sum, mut total) = (0.0, vec![0f32; adapter.values.len()]);
    let mut workers = Workers::new(1);
    for row in all {
        let named = [NamedRow { row, index: 0, name: 0 }];
        let weights = Weights::Every(1.0 / supervised as f64);
        let randomness = Randomness { seed: 0, dropout: 0.0, neftune_alpha: 0.0 };
        sum += by(model, adapter, &named, weights, randomness, &mut workers, &mut total).unwrap().loss.sum;
    }
    (sum / supervised as f64, total)
}

#[test]
fn logits_losses_and_gradients_are_those_of_transformers_and_peft() {
    let rows = FamilyReference::rows();
    for family in families() {
        let base = family.model(&Device::flex());
        let adapter = FamilyReference::adapter(&base);
        for (kind, model) in [("base", base.clone()), ("tuned", base.with(&adapter).unwrap())] {
            let what = format!("{} {kind}", family.name);
            let found: Vec<f32> = (0..rows.len()).flat_map(|row| logits(&model, rows.row(row))).collect();
            close(&found, &family.values(&format!("{kind}.logits")), &format!("{what} logits"));
            let alone = |row: usize| model.row_losses(&vec![rows[row].clone()], |_| {}).unwrap().remove(0);
            let losses: Vec<_> = (0..rows.len()).map(alone).collect();
            let supervised: usize = losses.iter().map(|row| row.supervised).sum();
            let mean = losses.iter().map(|row| row.loss * row.supervised as f64).sum::<f64>() / supervised as f64;
            close(&[mean as f32], &family.values(&format!("{kind}.loss")), &format!("{what} loss"));
        }
        for fused in [false, true] {
            let (loss, slopes) = gradient(&base, &adapter, &rows, fused);
            close(&[loss as f32], &family.values("tuned.loss"), &family.name);
            for tensor in &adapter.tensors {
                let expected = family.values(&format!("gradient.{}", tensor.name()));
                close(&slopes[tensor.range()], &expected, &format!("{} {}", family.name, tensor.name()));
            }
        }
    }
}

#[test]
fn sharing_a_beginning_and_batching_change_no_loss() {
    let rows = learnable_rows(9);
    let all: Vec<Row<'_>> = (0..rows.len()).map(|index| rows.row(index)).collect();
    for family in families() {
        let model = family.model(&Device::flex());
        let losses = |rows: &[Row<'_>], share: bool| -> Vec<f32> {
            let losses = model.target_losses(&Batch::new(rows, share)).unwrap();
            losses.into_iter().map(|loss| loss as f32).collect()
        };
        let order = Batch::new(&all, false).order;
        let alone: Vec<f32> = order.iter().flat_map(|&row| losses(&[all[row]], false)).collect();
        close(&losses(&all, false), &alone, &format!("{} batched", family.name));
        close(&losses(&all, true), &alone, &format!("{} shared", family.name));
    }
}

fn prompts() -> Vec<Prompt> {
    (0..).zip(FamilyReference::prompts()).map(|(name, ids)| Prompt { ids, name }).collect()
}

fn options(max_new_tokens: usize) -> GenerationOptions<'static> {
    let sampling = Sampling::default();
    GenerationOptions { max_new_tokens, stop: &[], stop_strings: None, batch_size: 4, sampling }
}

/// What decoding without a cache says: the whole row through the model again for every token.
fn plainly(model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let mut mask = vec![0; ids.len()];
        mask.push(1);
        let ids_and_next: Vec<u32> = ids.iter().copied().chain([0]).collect();
        let batch = Batch::new(&[Row { ids: &ids_and_next, mask: &mask }], true);
        ids.push(model.composed_losses(&batch).unwrap().1[0]);
    }
    ids[prompt.len()..].to_vec()
}

#[test]
fn answers_from_a_cache_are_those_of_whole_rows() {
    // So many that windows of four tokens are passed; not beyond the ten that `longrope` has short factors for.
    let options = options(2);
    for family in families() {
        let model = family.model(&Device::flex());
        let prompts = prompts();
        let composed = model.generate_composed(&prompts, options, |_| {}).unwrap().answers;
        let fused = model.generate(&prompts, options, |_| {}).unwrap().answers;
        for (prompt, (composed, fused)) in prompts.iter().zip(composed.iter().zip(&fused)) {
            let expected = plainly(&model, &prompt.ids, options.max_new_tokens);
            assert_eq!(composed.ids, expected, "{}: {prompt:?}", family.name);
            assert_eq!(fused.ids, expected, "{}: {prompt:?}", family.name);
        }
    }
}

#[test]
fn fused_answers_and_losses_are_those_of_burn_operations() {
    let rows = learnable_rows(9);
    let rows: Vec<Row<'_>> = (0..rows.len()).map(|row| rows.row(row)).collect();
    let batch = Batch::new(&rows, true);
    for family in families() {
        let base = family.model(&Device::flex());
        let tuned = base.with(&FamilyReference::adapter(&base)).unwrap();
        for (kind, model) in [("base", base), ("tuned", tuned)] {
            let what = format!("{} {kind}", family.name);
            let composed = model.generate_composed(&prompts(), options(14), |_| {}).unwrap().answers;
            assert_eq!(model.generate(&prompts(), options(14), |_| {}).unwrap().answers, composed, "{what}");
            let changes = Changes::applied(&model).unwrap();
            let (mut said, mut memory) = (Vec::new(), Memory::default());
            let found = target_losses(&model, &changes, &batch, &mut memory, Some(&mut said)).unwrap();
            let (expected, most_likely) = model.composed_losses(&batch).unwrap();
            assert_eq!(said, most_likely, "{what}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{what}: {found} {expected}");
            }
        }
    }
}
