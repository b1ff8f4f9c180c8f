//! The device of a step, chosen as the command line asks, said and recorded.

use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    Device,
    device::{DeviceChoice, select as select_device},
};

use crate::llm_error::llm_error;

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
