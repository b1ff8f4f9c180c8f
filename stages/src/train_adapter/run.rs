use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    bottleneck::{self, BottleneckAdapter},
    train::Objective,
};

use super::params::TrainAdapterParams;
use crate::{
    llm_error::llm_error,
    training::{Session, TokenPart},
};

pub(super) fn run(params: &TrainAdapterParams, step: &StepContext) -> Result<(), StageError> {
    let session = Session::open(step, params.optimizer.gradient_checkpointing)?;
    let config = params.training();
    let rows = TokenPart::to_learn(session.train_rows()?);
    let validation = session.validation_rows(&config).map(TokenPart::to_learn);
    session.tell_left_out(&rows);
    let shape = session.checkpoint().config();
    let settings = params.config(&shape.name, shape.hidden_size);
    // Before the model is read, which takes longer than to see that this is not for it.
    let initial =
        BottleneckAdapter::initial(settings, shape, params.optimizer.seed).map_err(|error| llm_error(&error))?;
    if !BottleneckAdapter::known_to_library(shape) {
        step.warn(format!(
            "the `adapters` library knows no `{}` by itself: there the adapter needs an `AdapterModelInterface` that names the model's parts",
            shape.family
        ));
    }
    if let Some(module) = initial.modules().next() {
        let layers = initial.tensors.chunk_by(|a, b| a.layer == b.layer).count();
        step.fact("train.bottleneck", format!("{} wide, in {layers} of {} layers", module.down.shape[0], shape.layers));
    }
    let initial = BottleneckAdapter { template: Some(session.template()), ..initial };
    let models = session.models(params.optimizer.precision(), params.optimizer.quantization)?;
    let validation = validation.as_ref().map(|rows| Objective::CrossEntropy(rows));
    let trained = session.fit(&models, initial, Objective::CrossEntropy(&rows), validation, &config, params)?;
    session.write_adapters(&trained, |adapter, folder| bottleneck::save(adapter, shape, folder))
}
