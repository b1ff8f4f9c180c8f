//! What would run, and why: keys from the sources down, each looked up in the store.

mod collected;
mod difference;
mod estimate;
mod excerpt;
mod history;
mod leaves;
mod lock_file;
mod outlook;
mod planner;
mod reason;
mod sources;
mod step;
mod surroundings;

pub(crate) use collected::content;
pub(crate) use difference::parameter_changes;
pub(crate) use outlook::files;

pub use estimate::Estimate;
pub use excerpt::excerpts;
pub use history::History;
pub use leaves::leaves;
pub use lock_file::{LockFile, LockedSource};
pub use planner::{Decision, Force, Planner, plan};
pub use reason::{Reason, sentence};
pub use sources::{SourceError, Sources};
pub use step::{Plan, Step, StepState};
pub use surroundings::Surroundings;
