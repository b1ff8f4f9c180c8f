use std::{collections::BTreeSet, path::Path};

use miette::miette;
use refit_cache::{RunId, StepKey, Store, StoreError};
use refit_engine::{
    plan::{Force, StepState, sentence},
    run::find_run,
};

use crate::{
    args::{PipelineArgs, StoreOfArgs},
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::Ui,
};

/// What a command is about: a run, or the result of a stage of a pipeline as it stands.
#[derive(Debug)]
pub(super) enum Target {
    Run(RunId),
    Result {
        key: StepKey,
        /// The results that it was made from, and itself.
        closure: BTreeSet<StepKey>,
    },
}

impl Target {
    /// Reads `RUN`, `STAGE` or `STAGE.PORT`. A run is named as everywhere: `latest`, its name, any beginning of its id. Where a
    /// stage is called so, too, the run is meant.
    pub(super) fn find(
        wanted: &str,
        pipeline: &PipelineArgs,
        ui: Ui,
        environment: &Environment,
    ) -> Result<(Store, Self), Failure> {
        let of = StoreOfArgs { of: pipeline.pipeline.clone(), store: pipeline.store.clone() };
        let store = open::store_of(&of, environment)?;
        let unknown = match find_run(&store, wanted) {
            Ok(run) => return Ok((store, Self::Run(run))),
            Err(error @ StoreError::UnknownRun { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        if !is_pipeline(&pipeline.pipeline) {
            return Err(unknown.into());
        }
        let target = Self::result(wanted, pipeline, ui, environment)?;
        Ok((store, target))
    }

    fn result(wanted: &str, args: &PipelineArgs, ui: Ui, environment: &Environment) -> Result<Self, Failure> {
        let pipeline = open::pipeline(args, ui)?;
        let name = if pipeline.stages.get(wanted).is_some() {
            wanted
        } else {
            wanted.rsplit_once('.').map_or(wanted, |(stage, _)| stage)
        };
        let node = open::stage(&pipeline, name)?;
        if let Some(port) = wanted.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'))
            && node.output(port).is_none()
        {
            let ports: Vec<&str> = node.outputs.iter().map(|port| port.name.as_ref()).collect();
            let help = format!("its outputs: {}", ports.join(", "));
            return Err(Failure::usage(miette!(
                code = "cache::unknown_port",
                help = help,
                "`{name}` has no output `{port}`"
            )));
        }
        let planned = open::planned(pipeline, &args.store, Force::Nothing, environment)?;
        let needed: BTreeSet<&str> = planned.pipeline.stages.ancestors(name).into_iter().chain([name]).collect();
        let steps: Vec<_> = planned.plan.steps.iter().filter(|step| needed.contains(step.stage.as_str())).collect();
        if let Some(stale) = steps.iter().find(|step| step.state != StepState::Cached) {
            let help = format!("`refit run {} --to {name}` makes it", args.pipeline.display());
            return Err(Failure {
                code: ExitCode::Stale,
                report: miette!(
                    code = "cache::stale",
                    help = help,
                    "the result of `{}` is not in the store: {}",
                    stale.stage,
                    sentence(&stale.reasons)
                ),
            });
        }
        let key = steps.iter().find(|step| step.stage == name).and_then(|step| step.key);
        let key = key.ok_or_else(|| Failure::from(StoreError::UnknownRun { wanted: wanted.to_owned() }))?;
        Ok(Self::Result { key, closure: steps.iter().filter_map(|step| step.key).collect() })
    }
}

/// Whether there is a pipeline to look for stages in.
fn is_pipeline(path: &Path) -> bool {
    path.is_file() || path.join("pipeline.yaml").is_file()
}
