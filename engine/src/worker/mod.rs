//! One step in a process of its own: what it is told, the child's side, the engine's side.
//!
//! A driver that crashes, memory that runs out, a kill and a timeout then cost one step, never the engine.

mod exec;
mod memory;
mod order;
mod process;

pub use exec::exec_step;
pub(crate) use exec::peak_memory;
pub(crate) use memory::available_memory;
pub use order::StepOrder;
pub use process::{Outcome, Worker};
