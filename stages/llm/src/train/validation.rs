use super::workers::Workers;
use crate::{
    LlmError, Model,
    model::{Rows, SupervisedLoss, portions},
};

/// Mean loss over the targets of all rows, in parts of rows computed side by side.
pub(crate) fn validate(model: &Model, rows: &dyn Rows, workers: &mut Workers) -> Result<f64, LlmError> {
    let parts = portions(rows);
    let losses = workers.map(model, parts.len(), |part| model.supervised_loss(rows, parts[part].clone()))?;
    let mut total = SupervisedLoss::default();
    for loss in losses {
        total.sum += loss.sum;
        total.supervised += loss.supervised;
    }
    Ok(total.mean())
}
