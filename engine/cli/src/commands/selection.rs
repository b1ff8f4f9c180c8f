use std::collections::BTreeSet;

use clap::Args;
use miette::miette;
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

    /// The selected stages, and which of them are forced. A name that is no stage's, or not a selected one's, is a
    /// mistake.
    pub(crate) fn resolve(&self, pipeline: &Pipeline) -> Result<(BTreeSet<String>, Force), Failure> {
        let selected = self.selection().stages(pipeline)?;
        if self.force.iter().any(String::is_empty) {
            // What is not selected must be in the store: forcing it would leave the others without their inputs.
            let forced = Force::Stages(selected.clone());
            return Ok((selected, forced));
        }
        let mut forced = BTreeSet::new();
        for name in &self.force {
            let stages = open::stages(pipeline, name)?;
            forced.extend(stages.iter().map(|stage| stage.name.clone()).filter(|name| selected.contains(name)));
            if !stages.iter().any(|stage| selected.contains(&stage.name)) {
                let help = "leave it out, or select it with `--to`, `--from` or `--stage`";
                return Err(Failure::usage(miette!(
                    code = "run::forced_not_selected",
                    help = help,
                    "the stage `{name}` is forced but not selected"
                )));
            }
        }
        let forced = if forced.is_empty() { Force::Nothing } else { Force::Stages(forced) };
        Ok((selected, forced))
    }
}
