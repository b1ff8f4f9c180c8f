//! `exec`: any command, with declared inputs and outputs.

mod check;
mod command;
mod environment;
mod params;
mod stage;
#[cfg(test)]
mod tests;

pub use params::*;
pub use stage::Exec;
