use super::{Trainable, workers::Workers};
use crate::{
    LlmError, Model,
    fused::{self, ComputePath},
    model::{Batch, Row},
};

/// ln p of all targets of a row together, and how many they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Likelihood {
    pub(crate) log_p: f64,
    pub(crate) tokens: usize,
}

impl Likelihood {
    /// ln p of a token on average.
    pub(crate) fn mean(self) -> f64 {
        self.log_p / self.tokens as f64
    }
}

/// The likelihood of each row under the model with what is trained. Every `together` rows make a pass of their own, so that a
/// row's value has the same bits whatever else is asked for.
pub(crate) fn likelihoods(
    model: &Model,
    trained: &dyn Trainable,
    rows: &[Row<'_>],
    together: usize,
    workers: &mut Workers,
) -> Result<Vec<Likelihood>, LlmError> {
    let batches: Vec<Batch> = rows.chunks(together).map(|rows| Batch::new(rows, true)).collect();
    let losses = if ComputePath::of(model).is_fused() {
        workers.together(|memory| {
            let changes = trained.changes(model)?;
            batches
                .iter()
                .map(|batch| fused::target_losses(model, &changes, batch, memory, None))
                .collect::<Result<_, _>>()
        })?
    } else {
        let models = workers.of_each(model, |model| model.with(trained))?;
        workers.map(&models, batches.len(), |model, batch| model.target_losses(&batches[batch]))?
    };
    Ok(batches.iter().zip(&losses).flat_map(|(batch, losses)| batch.likelihoods(losses)).collect())
}
