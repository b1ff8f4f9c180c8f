//! The stage kinds of refit, one folder each, and the one list that registers them.

pub mod ab_compare;
pub mod clean;
pub mod lines;
pub mod model_error;
pub mod predictions;
pub mod records;
pub mod similarity;
pub mod split;
pub mod tokenize;
pub mod tokens;

use refit_engine::stage::{Registry, StageKind};

/// Every kind, in the order of the manual. Adding a kind is one folder and one line here.
pub fn registry() -> Registry {
    Registry::new(vec![
        StageKind::of::<clean::Clean>(),
        StageKind::of::<split::Split>(),
        StageKind::of::<tokenize::Tokenize>(),
        StageKind::of::<ab_compare::AbCompare>(),
    ])
}
