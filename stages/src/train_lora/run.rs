use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    adapter::{Adapter, LoraInit},
    train::Objective,
};

use super::params::TrainLoraParams;
use crate::{
    llm_error::llm_error,
    training::{Session, TokenPart},
};

pub(super) fn run(params: &TrainLoraParams, step: &StepContext) -> Result<(), StageError> {
    let session = Session::open(step, params.optimizer.gradient_checkpointing)?;
    let config = params.training();
    let rows = TokenPart::to_learn(session.train_rows()?);
    let validation = session.validation_rows(&config).map(TokenPart::to_learn);
    session.tell_left_out(&rows);
    let lora = params.lora.config(&session.checkpoint().config().name);
    let models = session.models(params.optimizer.precision(), params.optimizer.quantization)?;
    let initial = Adapter::initial(lora, models.first(), params.optimizer.seed).map_err(|error| llm_error(&error))?;
    if initial.config.init == LoraInit::Pissa && !models.first().weights_kept().formats.is_empty() {
        step.warn("the layers that are trained take the memory of floats: `init: pissa` takes its start off them, and blocks cannot hold the rest");
    }
    let models = models.map(|model| initial.residual(&model))?;
    let validation = validation.as_ref().map(|rows| Objective::CrossEntropy(rows));
    session.train(&models, initial, Objective::CrossEntropy(&rows), validation, &config, params)
}
