//! Which step may start now: counts of unmet inputs, permits for what the machine has, an order among those that could.
//!
//! Steps are numbers here, by their place in the graph's order; what they do is nobody's business.

mod capacity;
mod demand;
mod permits;
mod scheduler;
#[cfg(test)]
mod tests;

pub use capacity::{Capacity, Gpu};
pub use demand::{Demand, Shortage};
pub use permits::{Grant, Permits};
pub use scheduler::{Scheduler, StepId};
