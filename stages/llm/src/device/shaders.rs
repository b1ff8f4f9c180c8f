use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use burn_cubecl::{
    CubeDevice,
    cubecl::{
        WgpuCompilationOptions,
        client::Client,
        device::{WgpuDevice, WgpuDeviceKind},
        features::{AtomicUsage, Features, TypeUsage},
        ir::{AddressType, DeviceProperties, ElemType, FloatKind, IntKind, Type, UIntKind},
        server::ServerUtilities,
        wgpu::{AutoCompiler, RuntimeOptions, WgpuInitError, WgpuRuntime, WgpuServer, WgpuSetup},
    },
};
use cubecl_common::device::{Device as _, ServiceId};
use cubecl_server::{allocator::ContiguousMemoryLayoutPolicy, logging::ServerLogger, runtime::Runtime};

/// The language that kernels reach a driver in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shaders {
    /// WebGPU's own, which wgpu translates for any driver.
    Wgsl,
    /// Vulkan's, which says more about what a GPU can do.
    SpirV,
}

impl Shaders {
    /// The one for a device that was opened.
    pub(super) fn of(device: &WgpuDevice) -> Self {
        if CubeDevice::Wgpu(device.clone()).client().name() == WGSL { Self::Wgsl } else { Self::SpirV }
    }
}

impl fmt::Display for Shaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wgsl => "WGSL",
            Self::SpirV => "SPIR-V",
        })
    }
}

/// What the runtime calls itself on devices whose kernels are in WGSL.
const WGSL: &str = "wgpu<wgsl>";

/// Numbers of devices, from the highest down: the runtime gives some out as well, from the lowest up.
static LAST: AtomicU32 = AtomicU32::new(u16::MAX as u32);

/// The device of an adapter that was opened whose kernels are in WGSL: the same one, or another one that is registered with the
/// runtime for it.
///
/// The runtime takes SPIR-V for each adapter that says it can do with it. Software drivers say so,
/// and crash.
pub(super) fn in_wgsl(opened: &WgpuDevice, setup: &WgpuSetup) -> Result<WgpuDevice, WgpuInitError> {
    if Shaders::of(opened) == Shaders::Wgsl {
        return Ok(opened.clone());
    }
    let known = CubeDevice::Wgpu(opened.clone()).client();
    let device = WgpuDevice::new(WgpuDeviceKind::Existing(LAST.fetch_sub(1, Ordering::Relaxed)));
    let service = ServiceId { device: device.to_id(), ..known.service_id() };
    let properties = properties(known.properties(), setup.device.features());
    let (memory, timing) = (properties.memory.clone(), properties.timing_method);
    let options = RuntimeOptions::try_default()?;
    let (utilities, captures) = ServerUtilities::init(
        service,
        WGSL,
        properties,
        WgpuRuntime::<AutoCompiler>::target_properties(),
        Arc::new(ServerLogger::default()),
        ContiguousMemoryLayoutPolicy::new(memory.alignment as usize),
    );
    let server = WgpuServer::<AutoCompiler>::new(
        memory,
        options.memory_config,
        // Without SPIR-V, as long as they do not say otherwise.
        WgpuCompilationOptions::default(),
        setup.device.clone(),
        setup.queue.clone(),
        options.tasks_max,
        setup.backend,
        timing,
        utilities,
        captures,
    );
    Client::try_init(device.to_id(), server)
        .map_err(|error| WgpuInitError::Registration { message: format!("{error:?}") })?;
    Ok(device)
}

/// The adapter as it is, with what WGSL can do everywhere in place of what SPIR-V can.
fn properties(known: &DeviceProperties, device: wgpu::Features) -> DeviceProperties {
    let mut properties = DeviceProperties { features: Features::default(), ..known.clone() };
    properties.hardware.max_vector_size = 4;
    properties.register_address_type(AddressType::U32);
    let (unsigned, signed) = (ElemType::UInt(UIntKind::U32), ElemType::Int(IntKind::I32));
    let floats = [FloatKind::F32, FloatKind::Flex32].map(ElemType::Float);
    for number in [ElemType::Index, ElemType::Bool, unsigned, signed].into_iter().chain(floats) {
        properties.register_type_usage(number, TypeUsage::all());
    }
    if device.contains(wgpu::Features::SHADER_F16) {
        properties.register_type_usage(ElemType::Float(FloatKind::F16), TypeUsage::all());
    }
    for number in [unsigned, signed] {
        let usage = AtomicUsage::LoadStore | AtomicUsage::Exchange | AtomicUsage::Add;
        properties.register_atomic_type_usage(Type::atomic(number), usage);
    }
    properties
}
