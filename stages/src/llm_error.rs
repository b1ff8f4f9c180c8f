//! What goes wrong in a model, in a stage's terms.

use std::{error::Error, io};

use refit_engine::stage::StageError;
use refit_llm::LlmError;

use crate::model_error::model_error;

/// The same error for the engine: code, message, way out and causes stay.
pub fn llm_error(error: &LlmError) -> StageError {
    match error {
        LlmError::Checkpoint(error) => model_error(error),
        // A full disk and the like have codes and ways out of their own.
        LlmError::Io(cause) => io::Error::new(cause.kind(), cause.to_string()).into(),
        error => {
            let mut made = StageError::new(error.code(), error.to_string());
            made.help = error.help();
            match error.source() {
                Some(cause) => made.caused_by(cause),
                None => made,
            }
        }
    }
}
