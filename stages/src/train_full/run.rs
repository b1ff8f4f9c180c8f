use refit_checkpoint::HostTensor;
use refit_engine::stage::{StageError, StepContext};
use refit_llm::{LlmError, Precision, train::Objective, weights::TrainedWeights};

use super::params::TrainFullParams;
use crate::{
    llm_error::llm_error,
    precision::Quantization,
    training::{Session, TokenPart},
};

pub(super) fn run(params: &TrainFullParams, step: &StepContext) -> Result<(), StageError> {
    let session = Session::open(step, params.gradient_checkpointing)?;
    let config = params.training();
    let rows = TokenPart::to_learn(session.train_rows()?);
    let validation = session.validation_rows(&config).map(TokenPart::to_learn);
    session.tell_left_out(&rows);
    let models = session.models(Precision::F32, Quantization::Unpack)?;
    let initial = TrainedWeights::of(models.first(), &params.selection()).map_err(|error| llm_error(&error))?;
    let models = models.map(|model| Ok(model.without(&initial)))?;
    let validation = validation.as_ref().map(|rows| Objective::CrossEntropy(rows));
    let trained = session.fit(&models, initial, Objective::CrossEntropy(&rows), validation, &config, params)?;

    // What was not trained is read again for the file.
    drop(models);
    let (weights, checkpoint) = (trained.best.as_ref().unwrap_or(&trained.last), session.checkpoint());
    let tensor = |name: &str| -> Result<HostTensor, LlmError> {
        match weights.in_files(name, checkpoint.config()) {
            Some(trained) => Ok(trained),
            None => Ok(checkpoint.tensor(name)?),
        }
    };
    let folder = step.output_folder("model")?;
    checkpoint.write_folder(&folder, params.stored(), tensor).map_err(|error| llm_error(&error))
}
