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
    let model = session.model(Precision::F32, Quantization::Unpack)?;
    let initial = TrainedWeights::of(&model, &params.selection()).map_err(|error| llm_error(&error))?;
    let model = model.without(&initial);
    let validation = validation.as_ref().map(|rows| Objective::CrossEntropy(rows));
    let trained = session.fit(&model, initial, Objective::CrossEntropy(&rows), validation, &config, params)?;

    // What was not trained is read again for the file.
    drop(model);
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
