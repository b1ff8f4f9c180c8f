//! Why a stage must run, or ran: from what it was before and is now, up to the causes that nothing else caused.

mod cause;
mod rows;
mod sketch;
mod subject;
mod view;

pub use cause::{Cause, Detail, causes};
pub use rows::RowChange;
pub use sketch::{FileChange, Sketch};
pub use subject::{Input, Subject};
pub use view::{StageView, View, Wire};
