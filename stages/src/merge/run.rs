use refit_checkpoint::FloatType;
use refit_engine::stage::{StageError, StepContext};
use refit_llm::adapter;

use super::MergeParams;
use crate::{
    llm_error::llm_error,
    model_error::{model_error, open_model},
    written::{Proof, merged, refuse_blocks},
};

pub(super) fn run(params: &MergeParams, step: &StepContext) -> Result<(), StageError> {
    let checkpoint = open_model(step.input("model")?)?;
    let folder = step.input("adapter")?;
    let adapter = adapter::load(folder, checkpoint.config()).map_err(|error| llm_error(&error).at(folder))?;
    // Once it is known that there is something to merge.
    refuse_blocks(&checkpoint, params.dequantize)?;
    let proof = Proof::of(&checkpoint, Some(&adapter), step)?;

    let stored = params.float.map_or(checkpoint.float_type().unwrap_or(FloatType::F32), Into::into);
    let to = step.output_folder("model")?;
    checkpoint
        .write_folder(&to, stored, |name| merged(&checkpoint, Some(&adapter), name))
        .map_err(|error| model_error(&error))?;
    proof.hold_against(&to, stored.into(), step)
}
