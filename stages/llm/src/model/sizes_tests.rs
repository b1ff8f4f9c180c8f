//! What a GPU does otherwise with a model, tried on the CPU: embedding and head in shards, dimensions of a pass in buckets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::{Batch, Model, OwnedRows, Randomness, Row, Rows, Sizes, WeightForm};
use crate::{
    Device,
    generate::{GenerationOptions, Prompt, Sampling},
    reference::{FamilyReference, families},
    train::{
        GradientBy, Likelihood, NamedRow, RowWeights, Trainable, Weights, Workers, composed_by_layers,
        composed_gradient,
    },
    weights::{Selection, TrainedWeights},
};

/// Rows of the vocabulary of 24 in a shard.
const SHARD: usize = 7;

fn as_on_a_gpu(model: &Model) -> Model {
    let cut = |table: &super::Table| table.in_shards(SHARD, model.config.hidden_size, WeightForm::default());
    let embedding = cut(&model.embedding);
    let head = if model.config.tied_head { embedding.clone() } else { cut(&model.head) };
    Model { sizes: Sizes::Buckets, embedding, head, ..model.clone() }
}

/// Rows that begin with the same nine tokens, of lengths and with targets whose numbers are all rounded up.
fn rows() -> OwnedRows {
    (0..9u32)
        .map(|row| {
            let length = if row < 7 { 11 + row } else { 21 };
            let ids = (0..length).map(|i| if i < 9 { i + 1 } else { (row * 5 + i * 3) % 24 }).collect();
            (ids, (0..length).map(|i| u8::from(i >= 10)).collect())
        })
        .collect()
}

fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    assert_eq!(found.len(), expected.len());
    length(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied()).max(1e-9)
}

/// Rows weigh by how likely they are.
struct ByLikelihood;

impl RowWeights for ByLikelihood {
    fn together(&self) -> usize {
        1
    }

    fn slopes(&self, rows: &[(usize, Likelihood)]) -> Vec<f64> {
        rows.iter().map(|(index, row)| 0.1 * row.log_p.tanh() - 0.01 * *index as f64).collect()
    }
}

/// Loss and gradient of some rows.
fn gradient(
    by: GradientBy,
    model: &Model,
    trained: &dyn Trainable,
    weights: Weights<'_>,
    randomness: Randomness,
) -> (f64, Vec<f32>) {
    let (rows, mut total) = (rows(), vec![0f32; trained.values().len()]);
    let passed =
        by(model, trained, &NamedRow::all(&rows), weights, randomness, &mut Workers::new(1), &mut total).unwrap();
    assert_eq!(passed.rows.len(), rows.len());
    (passed.loss.mean(), total)
}

#[test]
fn rows_are_padded_and_tables_cut() {
    let model = as_on_a_gpu(&families().remove(0).model(&Device::flex()));
    assert!(model.head.shards().len() == 4 && model.embedding.shards().len() == 4);
    let rows = rows();
    let all: Vec<Row<'_>> = (0..rows.len()).map(|row| rows.row(row)).collect();
    let batch = Batch::new(&all, true);
    let tables = model.tables(&batch).unwrap();
    assert!(tables.tokens > batch.computed(), "{} {}", tables.tokens, batch.computed());
    assert!(tables.sources.dims()[0] > batch.supervised());
}

#[test]
fn shards_and_buckets_change_no_loss_and_no_gradient() {
    let (none, noisy) = (Randomness::default(), Randomness { seed: 5, dropout: 0.2, neftune_alpha: 3.0 });
    for family in families() {
        let plain = family.model(&Device::flex());
        let padded = as_on_a_gpu(&plain);
        let adapter = FamilyReference::adapter(&plain);
        let every = TrainedWeights::of(&plain, &Selection::All).unwrap();
        let again = TrainedWeights::of(&padded, &Selection::All).unwrap();
        assert!(distance(again.values(), every.values()) < 1e-6, "{}", family.name);
        let (alike, by_row) = (Weights::Every(0.05), Weights::ByRow(&ByLikelihood));
        for by in [composed_gradient as GradientBy, composed_by_layers] {
            let methods: [(&dyn Trainable, Weights<'_>, Randomness); 4] =
                [(&adapter, alike, none), (&adapter, by_row, none), (&adapter, alike, noisy), (&every, alike, none)];
            for (at, (trained, weights, randomness)) in methods.into_iter().enumerate() {
                let expected = gradient(by, &plain, trained, weights, randomness);
                let found = gradient(by, &padded, trained, weights, randomness);
                assert!((found.0 - expected.0).abs() < 1e-5 * expected.0, "{} {at}: {found:?}", family.name);
                let off = distance(&found.1, &expected.1);
                assert!(off < 1e-5, "{} {at}: off by {off}", family.name);
            }
        }
    }
}

#[test]
fn shards_and_buckets_change_no_answer() {
    let sampled = Sampling { temperature: 0.8, ..Sampling::default() };
    let prompts: Vec<Prompt> = (0..).zip(FamilyReference::prompts()).map(|(name, ids)| Prompt { ids, name }).collect();
    for family in families() {
        let plain = family.model(&Device::flex());
        let padded = as_on_a_gpu(&plain);
        for sampling in [Sampling::default(), sampled] {
            let options =
                GenerationOptions { max_new_tokens: 14, stop: &[], stop_strings: None, batch_size: 4, sampling };
            let expected = plain.generate_composed(&prompts, options, |_| {}).unwrap().answers;
            let found = padded.generate_composed(&prompts, options, |_| {}).unwrap().answers;
            assert_eq!(found, expected, "{}", family.name);
        }
    }
}
