use refit_cache::RunId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The place of a run in a sweep. The runs of a sweep are carried out as one graph that shares what is common; each is
/// on record as a run of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// What the runs of a sweep have in common: the id of the first of them.
    pub group: RunId,
    /// Which one this is, from 0.
    pub index: usize,
    /// How many there are.
    pub size: usize,
    /// What is swept, as it is given with `-S`, and this run's value of it.
    pub values: Map<String, Value>,
}
