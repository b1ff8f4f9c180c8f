//! The device of a step, chosen as the command line asks, said and recorded.

use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    Device,
    device::{DeviceChoice, select as select_device},
};
use serde::{Deserialize, Serialize};

use crate::llm_error::llm_error;

/// What `--device` chooses on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The adapter's name, its kind and the graphics interface; or `CPU`.
    pub name: String,
    /// Why this one.
    pub reason: String,
    /// Whether a GPU's interface is computed on the CPU.
    pub software: bool,
}

/// Opens the device that `--device` with this text would choose, and tells which it is.
pub fn find(text: &str) -> Result<Found, StageError> {
    let choice: DeviceChoice = text.parse().map_err(|error| llm_error(&error))?;
    let selected = select_device(choice).map_err(|error| llm_error(&error))?;
    Ok(Found { name: selected.name, reason: selected.reason, software: selected.software })
}

/// Chooses the device; the choice and why are recorded with the run.
pub fn select(step: &StepContext) -> Result<Device, StageError> {
    let choice: DeviceChoice = step.settings().device.parse().map_err(|error| llm_error(&error))?;
    let selected = select_device(choice).map_err(|error| llm_error(&error))?;
    step.fact("device", selected.name.as_str());
    step.fact("device.reason", selected.reason.as_str());
    if selected.software {
        step.warn(format!("{} is a software rasteriser: it computes on the CPU, slowly", selected.name));
    }
    Ok(selected.device)
}
