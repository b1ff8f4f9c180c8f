//! `clean`: raw rows of any common shape become records.

mod dedup;
mod ids;
mod params;
mod pii;
mod prepare;
mod problem;
mod read;
mod report;
mod run;
mod shape;
#[cfg(test)]
mod tests;
mod text;

pub use params::*;
pub use run::Clean;
