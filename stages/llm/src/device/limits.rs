use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, wgpu::wgpu::Limits};

use super::is_cpu;

/// Bytes of the largest buffer of each adapter that this process opened.
static LARGEST: Mutex<Vec<(Device, usize)>> = Mutex::new(Vec::new());

/// Remembers what an adapter that was opened said of itself.
pub(super) fn remember(device: &Device, limits: &Limits) {
    let mut known = LARGEST.lock().unwrap_or_else(PoisonError::into_inner);
    known.push((device.clone(), largest(limits)));
}

/// Bytes that one tensor on a device can have at most: on a GPU it is one buffer, of which a kernel has to see all.
pub(crate) fn largest_buffer(device: &Device) -> usize {
    if is_cpu(device) {
        return usize::MAX;
    }
    let device = device.clone().inner();
    let known = LARGEST.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().find(|(known, _)| *known == device);
    // What every adapter has, for one that another opened.
    found.map_or_else(|| largest(&Limits::default()), |(_, bytes)| *bytes)
}

/// Bytes of a GPU's memory that this process holds for tensors: what was in use at one time, and what pages leave over. None of
/// a CPU.
pub fn memory_held(device: &Device) -> Option<u64> {
    if is_cpu(device) {
        return None;
    }
    device.sync().ok()?;
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

/// The runtime asks for all that the adapter has, and takes no buffer above the smaller of these.
fn largest(limits: &Limits) -> usize {
    usize::try_from(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)).unwrap_or(usize::MAX)
}
