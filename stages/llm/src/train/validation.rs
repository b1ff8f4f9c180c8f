use super::workers::Workers;
use crate::{
    LlmError, Model,
    adapter::Adapter,
    fused::{self, ComputePath},
    model::{Batch, Rows, SupervisedLoss, portions},
};

/// Mean loss over the targets of all rows.
pub(crate) fn validate(
    model: &Model,
    adapter: &Adapter,
    rows: &dyn Rows,
    workers: &mut Workers,
) -> Result<f64, LlmError> {
    let parts = portions(rows);
    let losses = if ComputePath::of(model, adapter).is_fused() {
        workers.together(|memory| {
            parts
                .into_iter()
                .map(|part| {
                    let batch = Batch::new(&part.map(|index| rows.row(index)).collect::<Vec<_>>(), true);
                    fused::supervised_loss(model, adapter, &batch, memory)
                })
                .collect::<Result<Vec<_>, _>>()
        })?
    } else {
        let model = model.with_adapter(adapter)?;
        workers.map(&model, parts.len(), |part| model.supervised_loss(rows, parts[part].clone()))?
    };
    let mut total = SupervisedLoss::default();
    for loss in losses {
        total.sum += loss.sum;
        total.supervised += loss.supervised;
    }
    Ok(total.mean())
}
