//! The stage kinds of refit, one folder each, and the one list that registers them.

pub mod ab_compare;
pub mod clean;
#[cfg(feature = "llm")]
pub mod device;
#[cfg(feature = "llm")]
pub mod evaluate;
pub mod exec;
#[cfg(feature = "llm")]
pub mod export;
pub mod lines;
#[cfg(feature = "llm")]
pub mod llm_error;
#[cfg(feature = "llm")]
pub mod merge;
pub mod model_error;
#[cfg(feature = "llm")]
pub mod precision;
pub mod predictions;
pub mod records;
pub mod similarity;
pub mod split;
pub mod tokenize;
pub mod tokens;
#[cfg(feature = "llm")]
pub mod train_adapter;
#[cfg(feature = "llm")]
pub mod train_full;
#[cfg(feature = "llm")]
pub mod train_lora;
#[cfg(feature = "llm")]
pub mod train_preference;
#[cfg(feature = "llm")]
pub mod training;
#[cfg(feature = "llm")]
mod written;

use refit_engine::stage::{Registry, StageKind};

/// Every kind, in the order of the manual. Adding a kind is one folder and one line here.
pub fn registry() -> Registry {
    Registry::new(Vec::from([
        StageKind::of::<clean::Clean>(),
        StageKind::of::<split::Split>(),
        StageKind::of::<tokenize::Tokenize>(),
        #[cfg(feature = "llm")]
        StageKind::of::<train_lora::TrainLora>(),
        #[cfg(feature = "llm")]
        StageKind::of::<train_preference::TrainPreference>(),
        #[cfg(feature = "llm")]
        StageKind::of::<train_adapter::TrainAdapter>(),
        #[cfg(feature = "llm")]
        StageKind::of::<train_full::TrainFull>(),
        #[cfg(feature = "llm")]
        StageKind::of::<evaluate::Evaluate>(),
        StageKind::of::<ab_compare::AbCompare>(),
        #[cfg(feature = "llm")]
        StageKind::of::<merge::Merge>(),
        #[cfg(feature = "llm")]
        StageKind::of::<export::Export>(),
        StageKind::program::<exec::Exec>(),
    ]))
}
