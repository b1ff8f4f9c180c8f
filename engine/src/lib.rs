//! Engine of refit: pipeline file, graph, plan, run, worker processes.
//!
//! Data flows one way: [`source`] → [`spec`] → [`graph`] → [`plan`] → [`run`] → [`worker`] → store → the run's report;
//! [`schedule`] says which step may start.
//! What the engine knows of a stage kind is its contract in [`stage`]; it knows no kind by name, and no burn.

pub mod explain;
pub mod fetch;
pub mod graph;
pub mod location;
pub mod plan;
pub mod program;
pub mod recall;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod source;
pub mod spec;
pub mod stage;
pub mod watch;
pub mod worker;

/// A module rather than a crate of its own, so that the engine is compiled once to be tested.
#[cfg(test)]
#[path = "../tests/pipeline_file/mod.rs"]
mod pipeline_file;
