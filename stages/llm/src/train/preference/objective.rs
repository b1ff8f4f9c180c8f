use std::sync::OnceLock;

use super::{PreferenceLoss, PreferenceMetrics, loss::Answer, mismatch::mismatched};
use crate::{
    LlmError, Model,
    adapter::Adapter,
    model::{Row, Rows},
    train::{
        Likelihood, Trainable, Workers,
        gradient::{NamedRow, RowWeights},
        likelihood::likelihoods,
    },
};

/// Answers that are better and worse, and the loss that is lowered over them.
///
/// The reference is the model without the adapter that is trained, or with the one the training goes on from; there is no
/// second copy of the model. What a row has under the reference is computed when the row is first needed, by itself, so
/// that it has the same bits in a training that was resumed.
pub struct Preference<'a> {
    rows: &'a dyn Rows,
    /// Whether each row's answer is a desired one.
    desired: Vec<bool>,
    loss: PreferenceLoss,
    reference: Adapter,
    /// ln p of each row under the reference, where it is known already.
    known: Vec<OnceLock<f64>>,
}

impl<'a> Preference<'a> {
    /// Answers with whether each is a desired one. A loss over pairs takes the desired and the other answer to a question
    /// in turn.
    ///
    /// # Errors
    /// Pairs are asked for, and the rows are none.
    pub fn new(
        rows: &'a dyn Rows,
        desired: Vec<bool>,
        loss: PreferenceLoss,
        reference: Option<Adapter>,
    ) -> Result<Self, LlmError> {
        let in_turn = || desired.len().is_multiple_of(2) && desired.chunks_exact(2).all(|pair| pair == [true, false]);
        if desired.len() != rows.len() || (loss.method.takes_pairs() && !in_turn()) {
            return Err(LlmError::NotPairs);
        }
        let reference = reference.unwrap_or_else(Adapter::none);
        Ok(Self { known: vec![OnceLock::new(); desired.len()], rows, desired, loss, reference })
    }

    pub(crate) fn rows(&self) -> &'a dyn Rows {
        self.rows
    }

    pub(crate) fn together(&self) -> usize {
        if self.loss.method.takes_pairs() { 2 } else { 1 }
    }

    /// What the rows of an optimizer step have under the reference, and how far the policy is from it.
    pub(crate) fn begin(
        &self,
        model: &Model,
        policy: &dyn Trainable,
        rows: &[NamedRow<'_>],
        workers: &mut Workers,
    ) -> Result<PreferenceStep<'_>, LlmError> {
        let mut step = PreferenceStep { preference: self, examples: rows.len() / self.together(), divergence: None };
        if !self.loss.method.needs_reference() {
            return Ok(step);
        }
        let unknown: Vec<NamedRow<'_>> = rows
            .chunks(self.together())
            .filter(|example| example.iter().any(|named| self.known[named.index].get().is_none()))
            .flatten()
            .copied()
            .collect();
        let plain: Vec<Row<'_>> = unknown.iter().map(|named| named.row).collect();
        for (named, found) in unknown.iter().zip(likelihoods(model, &self.reference, &plain, self.together(), workers)?)
        {
            self.known[named.index].get_or_init(|| found.log_p);
        }
        if !self.loss.method.takes_pairs() {
            step.divergence = Some(self.divergence(model, policy, rows, workers)?);
        }
        Ok(step)
    }

    /// How far the policy is from the reference, on answers to other questions; never below 0. A row by itself has no other.
    fn divergence(
        &self,
        model: &Model,
        policy: &dyn Trainable,
        rows: &[NamedRow<'_>],
        workers: &mut Workers,
    ) -> Result<f64, LlmError> {
        if rows.len() < 2 {
            return Ok(0.0);
        }
        let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
        let others = mismatched(&plain, model.config().max_positions);
        let others: Vec<Row<'_>> = (0..others.len()).map(|row| others.row(row)).collect();
        let [policy, reference] =
            [policy, &self.reference as &dyn Trainable].map(|adapter| likelihoods(model, adapter, &others, 1, workers));
        let apart: f64 = policy?.iter().zip(reference?).map(|(policy, reference)| policy.log_p - reference.log_p).sum();
        Ok((apart / rows.len() as f64).max(0.0))
    }

    /// Loss and metrics over all rows.
    pub(crate) fn validate(
        &self,
        model: &Model,
        policy: &dyn Trainable,
        workers: &mut Workers,
    ) -> Result<(f64, PreferenceMetrics), LlmError> {
        let rows = NamedRow::all(self.rows);
        let step = self.begin(model, policy, &rows, workers)?;
        let plain: Vec<Row<'_>> = rows.iter().map(|named| named.row).collect();
        let found: Vec<(usize, Likelihood)> =
            likelihoods(model, policy, &plain, self.together(), workers)?.into_iter().enumerate().collect();
        Ok(step.measure(&found))
    }

    fn answer(&self, (row, policy): (usize, Likelihood)) -> Answer {
        Answer { policy, reference: self.known[row].get().copied().unwrap_or(0.0) }
    }
}

/// A [`Preference`] during one optimizer step.
pub(crate) struct PreferenceStep<'a> {
    preference: &'a Preference<'a>,
    /// Pairs, or rows where each counts by itself: the loss is the mean over them.
    examples: usize,
    /// KTO's z.
    divergence: Option<f64>,
}

impl RowWeights for PreferenceStep<'_> {
    fn together(&self) -> usize {
        self.preference.together()
    }

    fn slopes(&self, rows: &[(usize, Likelihood)]) -> Vec<f64> {
        let slopes = rows.chunks(self.together()).flat_map(|example| self.example(example).1);
        slopes.map(|slope| slope / self.examples as f64).collect()
    }
}

impl PreferenceStep<'_> {
    /// Mean loss and metrics of the step's rows.
    pub(crate) fn measure(&self, rows: &[(usize, Likelihood)]) -> (f64, PreferenceMetrics) {
        // The order in which rows were computed is that of pieces; sums take that of the rows.
        let mut rows = rows.to_vec();
        rows.sort_by_key(|(index, _)| *index);
        let sum: f64 = rows.chunks(self.together()).map(|example| self.example(example).0).sum();
        let answers: Vec<(Answer, bool)> =
            rows.iter().map(|row| (self.preference.answer(*row), self.preference.desired[row.0])).collect();
        (sum / self.examples as f64, PreferenceMetrics::of(&self.preference.loss, &answers, self.divergence))
    }

    /// The loss of an example, and its slopes by ln p of its rows.
    fn example(&self, rows: &[(usize, Likelihood)]) -> (f64, Vec<f64>) {
        let Preference { loss, desired, .. } = self.preference;
        match rows {
            [chosen, rejected] => {
                let (value, slopes) = loss.of_pair(self.preference.answer(*chosen), self.preference.answer(*rejected));
                (value, slopes.to_vec())
            }
            alone => {
                let of = |row: &(usize, Likelihood)| {
                    loss.of_answer(self.preference.answer(*row), desired[row.0], self.divergence.unwrap_or(0.0))
                };
                let (values, slopes): (Vec<f64>, Vec<f64>) = alone.iter().map(of).unzip();
                (values.iter().sum(), slopes)
            }
        }
    }
}
