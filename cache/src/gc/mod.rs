//! What is dropped, and what stays: the results of kept runs and pins, whatever was used lately, and while there is room.

mod leftovers;
mod policy;
mod remover;
mod report;
mod sweep;

pub use self::{
    policy::GcPolicy,
    report::{DroppedResult, GcReport},
};
