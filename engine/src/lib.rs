//! Engine of refit: pipeline file, graph, plan, schedule, worker processes, report.
//!
//! Data flows one way: [`source`] → [`spec`] → [`graph`] → [`plan`] → [`schedule`] → [`worker`] → store → [`report`].
//! What the engine knows of a stage kind is its contract in [`stage`]; it knows no kind by name, and no burn.

pub mod graph;
pub mod spec;
pub mod stage;
