use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use burn::tensor::Device;
use burn_cubecl::{
    CubeDevice,
    cubecl::{
        device::{WgpuDevice, WgpuDeviceKind},
        wgpu::{AutoGraphicsApi, RuntimeOptions, WgpuInitError, WgpuSetup, try_init_setup},
    },
};

use super::{DeviceChoice, Shaders, kernels::Table, limits::remember, runtime::keep_to_memory, shaders::in_wgsl};
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
    /// The language of its kernels, of a GPU.
    pub shaders: Option<Shaders>,
    /// What the runtime remembers about its kernels, of a GPU.
    pub(super) kernels: Option<Table>,
    adapter: Option<Adapter>,
}

/// An adapter as the runtime knows it.
#[derive(Debug, Clone)]
struct Adapter {
    device: WgpuDevice,
    setup: WgpuSetup,
}

impl Selected {
    /// Whether it is an adapter of wgpu.
    pub fn is_gpu(&self) -> bool {
        !is_cpu(&self.device)
    }

    /// The same adapter with kernels in WGSL, which every driver knows better; nothing if they already are, or on a CPU.
    ///
    /// # Errors
    /// A failing device.
    pub fn in_wgsl(&self) -> Result<Option<Self>, LlmError> {
        let (Some(Shaders::SpirV), Some(Adapter { device, setup })) = (self.shaders, &self.adapter) else {
            return Ok(None);
        };
        let device = in_wgsl(device, setup).map_err(|error| LlmError::Device { reason: error.to_string() })?;
        let opened = Opened::new(device, setup.clone());
        Ok(Some(opened.chosen(&self.reason)))
    }
}

/// An adapter that was opened.
struct Opened {
    device: Device,
    name: String,
    software: bool,
    shaders: Shaders,
    kernels: Table,
    /// Where it sits in the machine, if its driver says.
    place: String,
    adapter: Adapter,
}

/// Whether it is the CPU backend.
pub(crate) fn is_cpu(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

/// Adapters of one kind that are looked for at most.
const MOST_OF_A_KIND: usize = 8;

/// Opens the devices asked for: one, or several adapters that are to share the work.
///
/// # Errors
/// No such adapter, one that is asked for twice, a driver that fails; `auto` falls back to the CPU only where there is no
/// hardware adapter at all.
pub fn select(choice: &DeviceChoice) -> Result<Vec<Selected>, LlmError> {
    let reason = format!("asked for with --device {choice}");
    let chosen = |found: Vec<Opened>| found.into_iter().map(|opened| opened.chosen(&reason)).collect();
    match choice {
        DeviceChoice::Cpu => Ok(vec![cpu(&reason)]),
        DeviceChoice::Auto => {
            let hardware = [WgpuDeviceKind::DiscreteGpu(0), WgpuDeviceKind::IntegratedGpu(0)]
                .into_iter()
                .find_map(|kind| open(kind).ok());
            Ok(vec![match hardware {
                Some(found) => found.chosen("the first hardware GPU, discrete before integrated"),
                None => cpu("no hardware GPU was found"),
            }])
        }
        DeviceChoice::Wgpu(adapters) => adapters_of(adapters).map(chosen),
        DeviceChoice::EveryGpu => {
            let found: Vec<Opened> = numbered().filter(|opened| !opened.software).collect();
            if found.is_empty() {
                return Err(LlmError::Device { reason: "wgpu finds no hardware GPU".into() });
            }
            Ok(chosen(found))
        }
    }
}

/// The adapters of these numbers, and the best one where there is none.
fn adapters_of(wanted: &[Option<usize>]) -> Result<Vec<Opened>, LlmError> {
    let twice = |name: &str| LlmError::Device { reason: format!("{name} is asked for twice") };
    for (place, adapter) in wanted.iter().enumerate() {
        if wanted[..place].contains(adapter) {
            return Err(twice(&adapter.map_or("wgpu".into(), |number| format!("wgpu:{number}"))));
        }
    }
    let most = wanted.iter().flatten().max().map_or(0, |most| most + 1);
    let mut by_number: Vec<Option<Opened>> = numbered().take(most).map(Some).collect();
    let mut found: Vec<Opened> = Vec::with_capacity(wanted.len());
    for adapter in wanted {
        let opened = match adapter {
            None => open(WgpuDeviceKind::DefaultDevice)?,
            Some(number) => by_number
                .get_mut(*number)
                .and_then(Option::take)
                .ok_or_else(|| LlmError::Device { reason: format!("wgpu has no adapter of number {number}") })?,
        };
        // The best one has a number as well.
        if !opened.place.is_empty() && found.iter().any(|known| known.place == opened.place) {
            return Err(twice(&opened.name));
        }
        found.push(opened);
    }
    Ok(found)
}

/// Opens one adapter after the other, in the order of their numbers: an adapter shows itself only by being opened.
fn numbered() -> impl Iterator<Item = Opened> {
    let kinds = [WgpuDeviceKind::DiscreteGpu, WgpuDeviceKind::IntegratedGpu, WgpuDeviceKind::VirtualGpu];
    let numbered = kinds.into_iter().flat_map(|kind| (0..MOST_OF_A_KIND).map(kind));
    numbered.chain([WgpuDeviceKind::Cpu]).filter_map(|kind| open(kind).ok())
}

fn cpu(reason: &str) -> Selected {
    Selected {
        device: Device::flex(),
        name: "CPU".into(),
        reason: reason.into(),
        software: false,
        shaders: None,
        kernels: None,
        adapter: None,
    }
}

impl Opened {
    fn new(device: WgpuDevice, setup: WgpuSetup) -> Self {
        let info = setup.adapter.get_info();
        let opened = Self {
            name: format!("{} ({:?}, {:?})", info.name, info.device_type, info.backend),
            software: is_software(&setup),
            shaders: Shaders::of(&device),
            kernels: Table::new(&CubeDevice::Wgpu(device.clone()), &info),
            place: info.device_pci_bus_id,
            device: Device::from(device.clone()),
            adapter: Adapter { device, setup },
        };
        remember(&opened.device, &opened.adapter.setup.device.limits());
        opened
    }

    fn chosen(self, reason: &str) -> Selected {
        Selected {
            device: self.device,
            name: self.name,
            reason: reason.into(),
            software: self.software,
            shaders: Some(self.shaders),
            kernels: Some(self.kernels),
            adapter: Some(self.adapter),
        }
    }
}

/// Takes what an adapter tells outside of any call.
fn told(name: &str, error: &wgpu::Error) {
    if matches!(error, wgpu::Error::OutOfMemory { .. }) {
        // What is read after this has not been computed. As when main memory runs out, the process ends with these words, by
        // which the engine knows what happened.
        let _ = writeln!(std::io::stderr(), "memory allocation of a buffer on {name} failed");
        std::process::abort();
    }
    panic!("wgpu error: {error}");
}

/// Opens an adapter. A driver that panics is as good as none.
fn open(kind: WgpuDeviceKind) -> Result<Opened, LlmError> {
    keep_to_memory();
    let (device, setup) = match catch_unwind(AssertUnwindSafe(|| set_up(kind))) {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(LlmError::Device { reason: error.to_string() }),
        Err(_) => return Err(LlmError::Device { reason: "its driver failed while it was opened".into() }),
    };
    let driver = setup.device.clone();
    let opened = Opened::new(device, setup);
    let name = opened.name.clone();
    driver.on_uncaptured_error(Arc::new(move |error| told(&name, &error)));
    Ok(opened)
}

fn set_up(kind: WgpuDeviceKind) -> Result<(WgpuDevice, WgpuSetup), WgpuInitError> {
    let device = WgpuDevice::new(kind);
    let setup = try_init_setup::<AutoGraphicsApi>(&device, RuntimeOptions::try_default()?)?;
    let device = if is_software(&setup) { in_wgsl(&device, &setup)? } else { device };
    Ok((device, setup))
}

fn is_software(setup: &WgpuSetup) -> bool {
    setup.adapter.get_info().device_type == wgpu::DeviceType::Cpu
}
