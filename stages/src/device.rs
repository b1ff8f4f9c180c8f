//! The devices of a step, chosen as the command line asks, said and recorded.

use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    Device,
    device::{DeviceChoice, Selected, select as select_devices, without_fusion},
};
use serde::{Deserialize, Serialize};

use crate::llm_error::llm_error;

/// What `--device` chooses on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The adapter's name, its kind and the graphics interface, or `CPU`; of several, one after the other.
    pub name: String,
    /// Why this one.
    pub reason: String,
    /// Whether a GPU's interface is computed on the CPU.
    pub software: bool,
}

impl Found {
    /// Several devices have one reason.
    fn of(selected: &[Selected]) -> Self {
        Self {
            name: selected.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(" + "),
            reason: selected.first().map_or_else(String::new, |device| device.reason.clone()),
            software: selected.iter().any(|device| device.software),
        }
    }
}

/// Opens the devices that `--device` with this text would choose, and tells which they are.
pub fn find(text: &str) -> Result<Found, StageError> {
    open(text).map(|selected| Found::of(&selected))
}

/// Opens the devices of a step.
fn open_for(step: &StepContext) -> Result<Vec<Selected>, StageError> {
    let settings = step.settings();
    if !settings.fusion {
        without_fusion().map_err(|error| llm_error(&error))?;
    }
    let selected = open(&settings.device)?;
    if !settings.fusion && selected.iter().any(Selected::is_gpu) {
        step.fact("device.fusion", false);
    }
    Ok(selected)
}

fn open(text: &str) -> Result<Vec<Selected>, StageError> {
    let choice: DeviceChoice = text.parse().map_err(|error| llm_error(&error))?;
    select_devices(&choice).map_err(|error| llm_error(&error))
}

/// Chooses the devices, at least one, for what can be shared out; the choice and why are recorded with the run.
pub fn select_all(step: &StepContext) -> Result<Vec<Device>, StageError> {
    let selected = open_for(step)?;
    tell(&selected, step);
    Ok(selected.into_iter().map(|selected| selected.device).collect())
}

/// Chooses one device; the choice and why are recorded with the run.
pub fn select(step: &StepContext) -> Result<Device, StageError> {
    let mut selected = open_for(step)?;
    let device = selected.first().map(|first| first.device.clone());
    if selected.len() > 1 {
        step.warn(format!("only {} computes: several devices share trainings", selected[0].name));
        selected.truncate(1);
    }
    tell(&selected, step);
    device.ok_or_else(|| StageError::new("device::failed", "no device was chosen"))
}

fn tell(selected: &[Selected], step: &StepContext) {
    let found = Found::of(selected);
    step.fact("device", found.name);
    step.fact("device.reason", found.reason);
    for device in selected.iter().filter(|device| device.software) {
        step.warn(format!("{} is a software rasteriser: it computes on the CPU, slowly", device.name));
    }
}
