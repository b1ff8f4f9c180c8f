use std::collections::BTreeSet;

use clap::Args;
use refit_engine::{graph::Pipeline, plan::Force, run::Selection};

use super::open;
use crate::failure::Failure;

/// Which stages, and which of them whatever the store holds.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectionArgs {
    /// Only this stage; what it needs must be in the store.
    #[arg(long, value_name = "NAME")]
    pub(crate) stage: Vec<String>,
    /// Only this stage and what depends on it.
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Vec<String>,
    /// Only this stage and what it needs.
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Vec<String>,
    /// Run again although the result is in the store: everything, or the stage named.
    #[arg(long, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) force: Vec<String>,
}

impl SelectionArgs {
    pub(crate) fn selection(&self) -> Selection {
        Selection { to: self.to.clone(), from: self.from.clone(), only: self.stage.clone() }
    }

    /// What is forced; a name that is no stage's is a mistake.
    pub(crate) fn force(&self, pipeline: &Pipeline) -> Result<Force, Failure> {
        if self.force.iter().any(String::is_empty) {
            return Ok(Force::All);
        }
        for name in &self.force {
            open::stage(pipeline, name)?;
        }
        Ok(match self.force.as_slice() {
            [] => Force::Nothing,
            names => Force::Stages(names.iter().cloned().collect::<BTreeSet<_>>()),
        })
    }
}
