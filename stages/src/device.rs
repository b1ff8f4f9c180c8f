//! The devices of a step, chosen as the command line asks, said and recorded.

use refit_checkpoint::ModelConfig;
use refit_engine::stage::{StageError, StepContext};
use refit_llm::{
    Device, LlmError,
    device::{DeviceChoice, KernelMemory, Selected, memory_held, select as select_devices, self_check, without_fusion},
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

/// The devices of a step. What they held of their memory is told and what is found out about their kernels is kept when the step
/// lets go of them, whether or not all went well.
pub struct Devices<'a> {
    selected: Vec<Selected>,
    kernels: Option<KernelMemory>,
    step: &'a StepContext,
}

impl<'a> Devices<'a> {
    /// Takes devices that were opened, and tells which they are and why.
    fn new(selected: Vec<Selected>, step: &'a StepContext) -> Self {
        let found = Found::of(&selected);
        step.fact("device", found.name);
        step.fact("device.reason", found.reason);
        let mut shaders: Vec<String> =
            selected.iter().filter_map(|device| device.shaders).map(|of| of.to_string()).collect();
        shaders.dedup();
        if !shaders.is_empty() {
            step.fact("device.shaders", shaders.join(" + "));
        }
        for device in selected.iter().filter(|device| device.software) {
            step.warn(format!("{} is a software rasteriser: it computes on the CPU, slowly", device.name));
        }
        let folder = step.settings().kernels.as_deref();
        let kernels = folder.and_then(|folder| KernelMemory::recall(folder, &selected, |warning| step.warn(warning)));
        Self { selected, kernels, step }
    }

    /// All of them, at least one.
    pub fn all(&self) -> impl Iterator<Item = &Device> {
        self.selected.iter().map(|selected| &selected.device)
    }

    /// The one that everything is computed on that is not shared out.
    pub fn first(&self) -> &Device {
        &self.selected[0].device
    }

    /// The first one that computes a model of this kind wrongly, and how.
    fn wrong(&self, model: &ModelConfig) -> Option<(usize, LlmError)> {
        let check =
            |selected: &Selected| selected.is_gpu().then(|| self_check(&selected.device, model).err()).flatten();
        self.selected.iter().enumerate().find_map(|(place, selected)| Some((place, check(selected)?)))
    }
}

impl Drop for Devices<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.all().filter_map(memory_held).max() {
            self.step.fact("device.memory", held);
        }
        let Some(kernels) = &self.kernels else { return };
        match kernels.keep() {
            Ok(kept) => {
                self.step.fact("device.kernels_remembered", kept.remembered);
                self.step.fact("device.kernels_tried", kept.tried);
            }
            Err(error) => {
                self.step
                    .warn(format!("the next step will try kernels again, since what is known cannot be kept: {error}"));
            }
        }
    }
}

/// Opens the devices of a step, at least one.
fn open_for(step: &StepContext) -> Result<Vec<Selected>, StageError> {
    let settings = step.settings();
    if !settings.fusion {
        without_fusion().map_err(|error| llm_error(&error))?;
    }
    let selected = open(&settings.device)?;
    if selected.is_empty() {
        return Err(StageError::new("device::failed", "no device was chosen"));
    }
    if !settings.fusion && selected.iter().any(Selected::is_gpu) {
        step.fact("device.fusion", false);
    }
    Ok(selected)
}

fn open(text: &str) -> Result<Vec<Selected>, StageError> {
    let choice: DeviceChoice = text.parse().map_err(|error| llm_error(&error))?;
    select_devices(&choice).map_err(|error| llm_error(&error))
}

/// Chooses the devices for what can be shared out, each of which has shown that it computes a model of this kind rightly; the
/// choice and why are recorded with the run.
pub fn select_all<'a>(step: &'a StepContext, model: &ModelConfig) -> Result<Devices<'a>, StageError> {
    let mut devices = Devices::new(open_for(step)?, step);
    while let Some((place, error)) = devices.wrong(model) {
        let Some(other) = devices.selected[place].in_wgsl().map_err(|error| llm_error(&error))? else {
            return Err(llm_error(&error));
        };
        step.warn(format!("its kernels are in WGSL instead of SPIR-V: {error}"));
        let mut selected = devices.selected.clone();
        selected[place] = other;
        devices = Devices::new(selected, step);
    }
    Ok(devices)
}

/// Chooses one device; the choice and why are recorded with the run.
pub fn select(step: &StepContext) -> Result<Devices<'_>, StageError> {
    let mut selected = open_for(step)?;
    if selected.len() > 1 {
        step.warn(format!("only {} computes: several devices share trainings", selected[0].name));
        selected.truncate(1);
    }
    Ok(Devices::new(selected, step))
}
