//! What editors, validators and the manual get from the types.

mod bounds;
mod pipeline;
mod reference;
mod table;

pub use pipeline::pipeline_schema;
pub use table::kinds_table;

pub(crate) use bounds::bound_integers;
