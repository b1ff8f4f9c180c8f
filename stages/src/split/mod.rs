//! `split`: records become training, validation and test rows.

mod assign;
mod leakage;
mod params;
mod report;
mod row;
mod run;
mod strata;
#[cfg(test)]
mod tests;

pub use params::*;
pub use run::Split;
