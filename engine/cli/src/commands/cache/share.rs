//! Sharing by hand: what is in the store goes to the remote cache, and what is there comes here.

use std::{collections::HashSet, sync::Arc};

use clap::Args;
use futures_util::future::join_all;
use miette::miette;
use refit_cache::{Pull, Remote, Store, StoreError, Wait};
use refit_engine::{
    graph::StageNode,
    plan::{self, Force, Planner, Sources, StepState, Surroundings},
    run::{RunReport, Selection, find_run},
};

use crate::{
    args::{PipelineArgs, StoreOfArgs},
    commands::open,
    config::CacheConfig,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    remote,
    ui::{Ui, bytes, count},
};

/// Arguments of `cache push`.
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// The run whose results are shared: its id, or a beginning of it [default: the newest].
    run: Option<String>,
    #[command(flatten)]
    store: StoreOfArgs,
}

/// Arguments of `cache pull`.
#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// The stages, with all they need [default: all].
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Look for the results of other values, such as `params.epochs=2`.
    #[arg(short = 'S', long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
}

/// Copies the results of a run to the remote cache.
pub(super) fn push(args: &PushArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let remote = wanted(environment, |cache| cache.push = Some(true))?;
    let store = open::store_of(&args.store, environment)?;
    // Nothing of it may be dropped while it is on its way.
    let lock = store.lock("refit cache push", Wait::Fail)?;
    let run = match &args.run {
        Some(text) => find_run(&store, text)?,
        None => {
            store.runs()?.into_iter().next().ok_or_else(|| StoreError::UnknownRun { wanted: "the newest".into() })?
        }
    };
    let report = RunReport::read(&store.run_folder(&run)).ok_or_else(|| {
        let help = "name a run that ended: `refit runs` lists them";
        Failure::usage(miette!(code = "cache::unfinished_run", help = help, "the run {run} has no report"))
    })?;
    let mut manifests = Vec::new();
    for stage in report.stages.iter().filter(|stage| !stage.outputs.is_empty()) {
        manifests.extend(stage.result(&store)?);
    }
    let pushed = remote::runtime()?.block_on(async {
        for manifest in &manifests {
            remote.push(&store, manifest);
        }
        remote.settle().await
    });
    drop(lock);
    remote::tell(&pushed, ui);
    if pushed.present > 0 {
        ui.say(&format!("{} there already", count(pushed.present, "result")));
    }
    Ok(if pushed.failures.is_empty() { ExitCode::Ok } else { ExitCode::Engine })
}

/// Brings what a pipeline's stages would make, as far as others have it.
pub(super) fn pull(args: &PullArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let remote = wanted(environment, |cache| cache.pull = Some(true))?;
    let pipeline =
        PipelineArgs { pipeline: args.store.of.clone(), set: args.set.clone(), store: args.store.store.clone() };
    let pipeline = open::pipeline(&pipeline, ui)?;
    let selected = Selection { to: args.stages.clone(), ..Selection::default() }.stages(&pipeline)?;
    let store = Store::open(&open::store_root(&args.store.store, &pipeline.folder, environment))?;
    let lock = store.lock("refit cache pull", Wait::Fail)?;
    let runtime = remote::runtime()?;
    let (mut asked, mut results, mut size, mut troubles) = (HashSet::new(), 0, 0, 0);
    loop {
        // What arrived gives the stages behind it their keys.
        let sources = Sources::look(&pipeline, &store, Some(&lock), &open::fetcher(environment))?;
        let surroundings = Surroundings::new(&store, Some(&lock), &pipeline.folder, environment.variables.clone());
        let planner = Planner::new(&store, &pipeline.name, Force::Nothing, &surroundings);
        let plan = plan::plan(&pipeline, &sources, &planner)?;
        let steps = plan.steps.iter().filter(|step| step.state == StepState::Run && selected.contains(&step.stage));
        let missing: Vec<_> =
            steps.filter_map(|step| Some((&step.stage, step.key?))).filter(|(_, key)| asked.insert(*key)).collect();
        if missing.is_empty() {
            break;
        }
        let pulls = missing.iter().map(|(stage, key)| {
            let ports = pipeline.stages.get(stage).map(StageNode::ports).unwrap_or_default();
            let pull = remote.pull(&store, &lock, *key, ports);
            async move { (stage, pull.await) }
        });
        for (stage, outcome) in runtime.block_on(join_all(pulls)) {
            match outcome {
                Pull::Hit { bytes: arrived } => {
                    results += 1;
                    size += arrived;
                    ui.say(&format!("{stage}  {}", bytes(arrived)));
                }
                Pull::Miss => {}
                Pull::Refused(why) | Pull::Unreachable(why) => {
                    troubles += 1;
                    ui.note(&format!("{stage}: {why}"));
                }
            }
        }
    }
    ui.say(&format!("{} pulled ({})", count(results, "result"), bytes(size)));
    Ok(if troubles == 0 { ExitCode::Ok } else { ExitCode::Engine })
}

/// The remote cache, which must be there: who asks for it by hand means it, whatever else is set.
fn wanted(environment: &Environment, mean: impl FnOnce(&mut CacheConfig)) -> Result<Arc<dyn Remote>, Failure> {
    let mut config = environment.config.clone();
    mean(&mut config.cache);
    remote::open(&config)?.ok_or_else(|| {
        let help = "name one: `refit config set cache.remote s3://bucket/team`; `fetch.offline` must not be set";
        Failure::usage(miette!(code = "cache::no_remote", help = help, "there is no remote cache to use"))
    })
}
