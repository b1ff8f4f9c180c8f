//! What the user wrote, as plain types, and what was given in its place on the command line.

mod overrides;

pub use overrides::{Override, OverrideError};
