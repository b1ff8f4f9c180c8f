//! The only writer to the terminal: data on stdout, everything for people on stderr.

mod bar;
mod canvas;
mod format;
mod pace;
mod run_view;
mod table;
mod terminal;

pub(crate) use bar::Bar;
pub(crate) use format::{ago, bytes, count, duration, local_time, score};
pub(crate) use run_view::RunView;
pub(crate) use table::{Table, pad, width};
pub(crate) use terminal::Ui;
