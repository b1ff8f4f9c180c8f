//! An adapter with less than it has, for tests.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use burn::tensor::{
    Device,
    wgpu::{
        WgpuSetup,
        wgpu::{DeviceDescriptor, Features, Limits},
    },
};
use burn_cubecl::cubecl::wgpu::{RuntimeOptions, try_init_device};

use super::{limits::remember, runtime::keep_to_memory, shaders::in_wgsl};

/// The adapter of `--device wgpu` once more, opened as one that takes buffers of so many bytes and `bindings` storage buffers
/// in a kernel; its driver holds every kernel to that. Nothing if there is no adapter.
pub(super) fn limited(largest: u64, bindings: u32) -> Option<Device> {
    keep_to_memory();
    let (_, setup) = Device::wgpu_options().init_with_setup().ok()?;
    let limits = Limits {
        max_buffer_size: largest,
        max_storage_buffer_binding_size: largest,
        max_storage_buffers_per_shader_stage: bindings,
        ..setup.adapter.limits()
    };
    let wanted = DeviceDescriptor {
        required_features: setup.adapter.features().difference(Features::MAPPABLE_PRIMARY_BUFFERS),
        required_limits: limits.clone(),
        ..DeviceDescriptor::default()
    };
    let mut opening = pin!(setup.adapter.request_device(&wanted));
    let (device, queue) = loop {
        if let Poll::Ready(opened) = opening.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            break opened.unwrap();
        }
    };
    assert_eq!(device.limits().max_storage_buffers_per_shader_stage, bindings);
    let setup = WgpuSetup { device, queue, ..setup };
    let device = try_init_device(setup.clone(), RuntimeOptions::try_default().unwrap()).unwrap();
    let device = Device::from(in_wgsl(&device, &setup).unwrap());
    remember(&device, &limits);
    Some(device)
}
