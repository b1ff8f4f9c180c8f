//! A run: the plan carried out step by step, every finished step committed at once, all of it recorded.

mod event;
mod executor;
mod options;
mod record;
mod session;
mod step;

pub use event::{Observer, RunEvent};
pub use executor::run;
pub use options::{RunError, RunOptions, Selection};
pub use record::{OutputReport, RunPlan, RunReport, RunStatus, StageReport, StageState};
