//! Where a model runs: a GPU through wgpu, or the CPU.

mod choice;
mod fusion;
mod kernels;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod limited;
mod limits;
mod runtime;
mod select;
mod self_check;
mod shaders;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr, reason = "a skipped test says so")]
mod tests;

pub use choice::DeviceChoice;
pub(crate) use fusion::is_fusing;
pub use fusion::without_fusion;
pub use kernels::{KernelMemory, KernelsKept};
pub(crate) use limits::largest_buffer;
pub use limits::memory_held;
pub(crate) use select::is_cpu;
pub use select::{Selected, select};
pub use self_check::self_check;
#[cfg(test)]
pub(crate) use self_check::{tiny_adapter, tiny_model};
pub use shaders::Shaders;
