use super::{Trainable, workers::Workers};
use crate::{
    LlmError, Model,
    fused::{self, ComputePath},
    model::{Batch, Rows, SupervisedLoss, portions},
};

/// Mean loss over the targets of all rows.
pub(crate) fn validate(
    model: &Model,
    trained: &dyn Trainable,
    rows: &dyn Rows,
    workers: &mut Workers,
) -> Result<f64, LlmError> {
    let parts = portions(rows);
    let losses = if ComputePath::of(model).is_fused() {
        workers.together(|memory| {
            let changes = trained.changes(model)?;
            parts
                .into_iter()
                .map(|part| {
                    let batch = Batch::new(&part.map(|index| rows.row(index)).collect::<Vec<_>>(), true);
                    fused::target_losses(model, &changes, &batch, memory, None)
                        .map(|losses| SupervisedLoss::of(&losses))
                })
                .collect::<Result<Vec<_>, _>>()
        })?
    } else {
        let models = workers.of_each(model, |model| model.with(trained))?;
        workers.map(&models, parts.len(), |model, part| model.supervised_loss(rows, parts[part].clone()))?
    };
    let mut total = SupervisedLoss::default();
    for loss in losses {
        total.sum += loss.sum;
        total.supervised += loss.supervised;
    }
    Ok(total.mean())
}
