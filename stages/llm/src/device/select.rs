use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceKind};

use super::{DeviceChoice, limits::remember};
use crate::LlmError;

/// A device, and how it came to be chosen.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The device.
    pub device: Device,
    /// The adapter's name, its kind and the graphics interface; or `CPU`.
    pub name: String,
    /// Why this one.
    pub reason: String,
    /// Whether a GPU's interface is computed on the CPU.
    pub software: bool,
}

/// An adapter that was opened.
struct Opened {
    device: Device,
    name: String,
    software: bool,
}

/// Whether it is the CPU backend.
pub(crate) fn is_cpu(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

/// Adapters of one kind that are looked for at most.
const MOST_OF_A_KIND: usize = 8;

/// Opens the device asked for.
///
/// # Errors
/// No such adapter, or its driver fails; `auto` falls back to the CPU only where there is no hardware adapter at all.
pub fn select(choice: DeviceChoice) -> Result<Selected, LlmError> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu("asked for with --device cpu")),
        DeviceChoice::Auto => {
            let hardware =
                [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0)].into_iter().find_map(|kind| open(kind).ok());
            Ok(match hardware {
                Some(found) => chosen(found, "the first hardware GPU, discrete before integrated"),
                None => cpu("no hardware GPU was found"),
            })
        }
        DeviceChoice::Wgpu(None) => Ok(chosen(open(DeviceKind::DefaultDevice)?, "asked for with --device wgpu")),
        DeviceChoice::Wgpu(Some(index)) => {
            let kinds = [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
            let numbered = kinds.into_iter().flat_map(|kind| (0..MOST_OF_A_KIND).map(kind));
            // Opened one after the other: an adapter shows itself only by being opened.
            let found = numbered.chain([DeviceKind::Cpu]).filter_map(|kind| open(kind).ok()).nth(index);
            let found =
                found.ok_or_else(|| LlmError::Device { reason: format!("wgpu has no adapter of number {index}") })?;
            Ok(chosen(found, &format!("asked for with --device wgpu:{index}")))
        }
    }
}

fn cpu(reason: &str) -> Selected {
    Selected { device: Device::flex(), name: "CPU".into(), reason: reason.into(), software: false }
}

fn chosen(opened: Opened, reason: &str) -> Selected {
    Selected { device: opened.device, name: opened.name, reason: reason.into(), software: opened.software }
}

/// Opens an adapter. A driver that panics is as good as none.
fn open(kind: DeviceKind) -> Result<Opened, LlmError> {
    let opened = catch_unwind(AssertUnwindSafe(|| Device::wgpu_options().device_kind(kind).init_with_setup()));
    let (device, setup) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(LlmError::Device { reason: error.to_string() }),
        Err(_) => return Err(LlmError::Device { reason: "its driver failed while it was opened".into() }),
    };
    remember(&device, &setup.device.limits());
    let info = setup.adapter.get_info();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    Ok(Opened { device, name: format!("{} ({:?}, {:?})", info.name, info.device_type, info.backend), software })
}
