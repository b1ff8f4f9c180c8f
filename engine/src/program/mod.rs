//! One step as a command, a process of its own that the engine starts: its folders, its output, its end.
//!
//! A command is a process group. Whatever becomes of the engine, the group ends: with its step, with the run, or, when the
//! engine is killed, by the run's [`Warden`].

mod collect;
mod folder;
mod group;
mod redactor;
mod running;
mod spares;
mod warden;

pub use warden::guard;

pub(crate) use collect::{Collected, collect, in_store, matcher, some_of};
pub(crate) use folder::ProgramFolder;
pub(crate) use group::{GRACE, ProcessGroup};
pub(crate) use running::{Ended, RunningProgram, failure};
pub(crate) use spares::SpareFolders;
pub(crate) use warden::Warden;
