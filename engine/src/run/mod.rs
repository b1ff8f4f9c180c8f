//! A run: the plan carried out step by step, every finished step committed as soon as the disk allows, all of it recorded.

mod attempt;
mod committing;
mod event;
mod executor;
mod find;
mod halt;
mod journal;
mod labels;
mod options;
mod process;
mod record;
mod scores;
mod session;
mod sharing;
mod step;
mod summary;
mod sweep;
mod verify;

pub use event::{Observer, RunEvent};
pub use executor::run;
pub use find::find_run;
pub use halt::Halt;
pub use labels::{LabelError, Labels};
pub use options::{GpuSearch, RunError, RunOptions, Selection};
pub use record::{OutputReport, RunPlan, RunReport, RunStatus, SourceReport, StageReport, StageState};
pub use scores::history_at;
pub use summary::RunSummary;
pub use sweep::{SweepRun, VariantOf, runs};
pub use verify::{Difference, Verdict};
