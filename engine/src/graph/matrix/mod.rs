//! Copies of a stage: the combinations of a matrix, their names, and how a reference chooses among them.

mod axis;
mod combine;
mod copies;
mod label;
mod read;
mod reference;

pub use label::file_name;
pub use reference::split_output;

pub(super) use axis::{Axis, AxisValue};
pub(super) use combine::{Combination, Item, combine};
pub(super) use copies::{Choice, Copies, StageCopy, Template};
pub(super) use label::label;
pub(super) use read::{Matrix, Notes};
pub(super) use reference::{Reference, Selector, split_copies};
