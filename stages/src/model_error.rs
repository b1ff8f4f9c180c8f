//! Models as stages open them: what is wrong with one, in a stage's terms.

use std::{error::Error, path::Path};

use refit_checkpoint::{Checkpoint, CheckpointError};
use refit_engine::stage::StageError;

/// Opens a model for a stage.
pub fn open_model(path: &Path) -> Result<Checkpoint, StageError> {
    Checkpoint::open(path).map_err(|error| model_error(&error))
}

/// The same error for the engine: code, message, way out, file and causes stay.
pub fn model_error(error: &CheckpointError) -> StageError {
    let mut made = StageError::new(error.code(), error.message());
    made.help = error.help().map(str::to_owned);
    if let Some(file) = error.file() {
        made = made.at(file);
    }
    match error.source() {
        Some(cause) => made.caused_by(cause),
        None => made,
    }
}
