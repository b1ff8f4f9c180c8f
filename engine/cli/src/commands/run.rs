use std::{env, num::NonZero};

use clap::Args;
use miette::WrapErr;
use refit_cache::{Store, StoreError, StoreLock, Wait};
use refit_engine::{
    graph::Pipeline,
    plan::Estimate,
    run::{self, Labels, RunOptions, RunReport, RunStatus, StageReport},
    stage::Settings,
};
use serde_json::json;

use super::{
    open, plan, recall,
    repeat::Repeat,
    runs,
    scores::{self, Scores},
    selection::SelectionArgs,
    signals::Signals,
    sweep, watch,
};
use crate::{
    args::PipelineArgs,
    config::{Config, Device, Gpus},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    machine, remote,
    ui::{RunView, Ui, count},
};

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "\
Examples:
  refit run pipelines/helpdesk
  refit run -S stages.train.with.learning_rate=2e-4 --json
  refit run -S stages.train.with.rank=8,16 -S 'params.lr=logrange(1e-4,1e-2,3)'
                                             six runs that share what is common
  refit run --to train -j 1 --device cpu
  refit run --force=train
  refit run --watch                          again and again, whenever a file that it reads changes
  refit run --verify                         whether every stage makes the same bytes once more
  refit run --from-run baseline --force      the same for a past run, with all that it was given")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Steps at a time [default: the number of cores, at least 2].
    #[arg(short, long)]
    jobs: Option<NonZero<usize>>,
    /// After a failure, go on with the stages that do not need the failed one.
    #[arg(short, long)]
    keep_going: bool,
    /// Only show what would run.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Where models run: `auto`, `cpu`, `wgpu`, `wgpu:N`, or several, which share trainings: `wgpu:0,wgpu:1` or `wgpu:all`
    /// [default: auto].
    #[arg(long)]
    device: Option<Device>,
    /// Let GPUs compute each operation by a kernel of its own: slower, and a way out where a driver compiles the usual ones
    /// wrongly.
    #[arg(long)]
    no_fusion: bool,
    /// The GPUs that steps may have, `0,1`, or with their memory, which lets steps share them, `0:24GB,1:8GB`
    /// [default: those that are found].
    #[arg(long)]
    gpus: Option<Gpus>,
    /// Run, then wait until a file that the pipeline reads has changed and run again, until Ctrl-C: its own file and those it
    /// imports, sources on this machine with all that is in their folders, tools, settings. What is fetched from elsewhere
    /// is not looked at again. `--force` counts for the first run only.
    #[arg(short, long, conflicts_with_all = ["json", "from_run", "dry_run", "name"])]
    pub(super) watch: bool,
    /// Run, then carry out once more every step that has a result, and compare what it makes with what is kept, which stays
    /// as it is. Ends with exit code 11 when a stage did not make the same bytes. Stages with `deterministic: false` or
    /// `cache: false` are left out.
    #[arg(long, conflicts_with_all = ["dry_run", "from_run", "watch"])]
    verify: bool,
    /// Fail at once when another run holds the store, instead of waiting.
    #[arg(long)]
    no_wait: bool,
    /// Repeat a past run from its record: the same pipeline file, overrides and device, whatever they are now. Says of
    /// every output whether it is the same to the bit, and ends with exit code 11 when one is not.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["set", "dry_run"])]
    from_run: Option<String>,
    /// Repeat it although a source has changed since.
    #[arg(long, requires = "from_run")]
    allow_changed_sources: bool,
    /// Call the run so, to name it later: `refit runs show baseline`.
    #[arg(long, value_name = "NAME", value_parser = runs::label)]
    name: Option<String>,
    /// Put this tag on the run.
    #[arg(long, value_name = "TAG", value_parser = runs::label)]
    tag: Vec<String>,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    /// The flags as a layer over all other settings.
    fn config(&self, environment: &Environment) -> Config {
        let flags = Config {
            jobs: self.jobs,
            device: self.device.clone(),
            fusion: self.no_fusion.then_some(false),
            gpus: self.gpus.clone(),
            keep_going: self.keep_going.then_some(true),
            ..Config::default()
        };
        flags.over(environment.config.clone())
    }
}

/// Runs a pipeline.
pub(crate) fn run(args: RunArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    if args.dry_run {
        let RunArgs { pipeline, selection, jobs, json, .. } = args;
        return plan::plan(
            &plan::PlanArgs { pipeline, selection, jobs, memory: false, device: None, json, exit_code: false },
            ui,
            environment,
        );
    }
    if args.watch { watch::watch(args, environment) } else { once(&args, ui, environment, None) }
}

/// Runs a pipeline once. Where nobody listens for signals yet, it does so itself once there is something to be ended in
/// order.
pub(super) fn once(
    args: &RunArgs,
    ui: Ui,
    environment: &Environment,
    signals: Option<&Signals>,
) -> Result<ExitCode, Failure> {
    if args.from_run.is_none()
        && !args.verify
        && let Some(code) = recalled(args, ui, environment)?
    {
        return Ok(code);
    }
    let repeat = args.from_run.as_ref().map(|run| Repeat::read(run, &args.pipeline, environment)).transpose()?;
    let pipeline = match &repeat {
        Some(repeat) => repeat.pipeline(&args.pipeline, ui)?,
        None => open::pipeline(&args.pipeline, ui)?,
    };
    let (_, force) = args.selection.resolve(&pipeline)?;
    let (store, lock) = match lock(args, &pipeline, ui, environment) {
        Ok(held) => held,
        Err(error @ (StoreError::ReadOnly { .. } | StoreError::PermissionDenied { .. })) => {
            return without_writing(error, args, pipeline, ui, environment);
        }
        Err(error) => return Err(error.into()),
    };
    for notice in lock.take_notices() {
        ui.note(&notice);
    }
    if let Some(repeat) = &repeat {
        repeat.check_sources(&pipeline, (&store, &lock), args.allow_changed_sources, ui, environment)?;
    }
    let config = args.config(environment);
    // Who names a device for the repetition wants that one, and not the one on record.
    let device = match &repeat {
        Some(repeat) if args.device.is_none() => repeat.device().to_owned(),
        _ => config.device.clone().unwrap_or_default().into(),
    };
    let overrides = repeat.as_ref().map_or_else(|| args.pipeline.set.clone(), |repeat| repeat.overrides().to_vec());
    let options = RunOptions {
        capacity: machine::capacity(&pipeline, &config, &device),
        gpus: machine::gpu_search(&device),
        keep_going: config.keep_going.unwrap_or(false),
        verify: args.verify,
        force,
        selection: args.selection.selection(),
        settings: Settings { device, fusion: config.fusion.unwrap_or(true), ..Settings::default() },
        worker: env::current_exe()?,
        variables: environment.variables.clone(),
        remote: remote::open(&config)?,
        overrides,
        labels: Labels { name: args.name.clone(), tags: args.tag.iter().cloned().collect() },
    };
    let own;
    let signals = if let Some(signals) = signals {
        signals
    } else {
        own = Signals::listen()?;
        &own
    };
    let fetcher = open::fetcher(environment);
    let view = RunView::new(ui, &pipeline);
    let running = run::run(&pipeline, &store, lock, &fetcher, &options, signals.halted(), &view);
    let report = signals.runtime().block_on(running);
    view.close();
    let report = report?;
    let ended = tell(&report, repeat.as_ref(), &view, args, ui);
    sweep::tell(&pipeline, &report, ui);
    ended
}

/// Answers a run of which nothing has changed since the last one; none when something may have.
fn recalled(args: &RunArgs, ui: Ui, environment: &Environment) -> Result<Option<ExitCode>, Failure> {
    let Some((store, recalled)) = recall::look(&args.pipeline, &args.selection, environment)? else { return Ok(None) };
    if String::from(args.config(environment).device.unwrap_or_default()) != recalled.device() {
        return Ok(None);
    }
    // Who must wait, or cannot write, goes the long way: it says why.
    let Ok(lock) = store.lock(&format!("refit run {}", recalled.pipeline()), Wait::Fail) else { return Ok(None) };
    let labels = Labels { name: args.name.clone(), tags: args.tag.iter().cloned().collect() };
    let view = RunView::over(ui, recalled.stages().iter().map(|stage| stage.name.as_str()));
    let report = recalled.run(&store, &lock, &labels, &view)?;
    tell(&report, None, &view, args, ui).map(Some)
}

/// Says how the run ended, and what has become of one that repeats another.
fn tell(
    report: &RunReport,
    repeat: Option<&Repeat>,
    view: &RunView,
    args: &RunArgs,
    ui: Ui,
) -> Result<ExitCode, Failure> {
    // Of a sweep, `refit runs` shows them side by side.
    if report.status == RunStatus::Ok && report.sweep.is_empty() {
        for line in scores::table(&Scores::of(&report.stages), ui.width()) {
            ui.say(&line);
        }
    }
    view.summary(report, &args.pipeline.pipeline);
    let repeated = repeat.map(|repeat| repeat.compare(report));
    if let Some(repeated) = &repeated {
        repeated.tell(ui);
    }
    if args.json {
        let mut told = serde_json::to_value(report)?;
        if let Some(repeated) = &repeated {
            told["repeated"] = repeated.as_json();
        }
        ui.data(&told.to_string())?;
    }
    Ok(match exit_code(report) {
        ExitCode::Ok if repeated.is_some_and(|repeated| !repeated.is_identical()) => ExitCode::Differs,
        ExitCode::Ok if report.stages.iter().any(StageReport::is_refuted) => ExitCode::Differs,
        code => code,
    })
}

fn lock(
    args: &RunArgs,
    pipeline: &Pipeline,
    ui: Ui,
    environment: &Environment,
) -> Result<(Store, StoreLock), StoreError> {
    let store = Store::open(&open::store_root(&args.pipeline.store, &pipeline.folder, environment))?;
    let mut waiting = |holder: &str| ui.note(&format!("waiting for the store, which is in use by {holder}"));
    let wait = if args.no_wait { Wait::Fail } else { Wait::Block(&mut waiting) };
    let lock = store.lock(&format!("refit run {}", pipeline.name), wait)?;
    Ok((store, lock))
}

/// Over a store that cannot be written, a run in which everything is cached still tells so; any other cannot be.
fn without_writing(
    error: StoreError,
    args: &RunArgs,
    pipeline: Pipeline,
    ui: Ui,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let (selected, force) = args.selection.resolve(&pipeline)?;
    let planned = open::planned(pipeline, &args.pipeline.store, force, environment)?;
    let rows = plan::rows(&planned.pipeline, &planned.plan, &selected);
    if plan::is_stale(&rows) {
        let running = rows.iter().filter(|row| row.would_run()).count();
        let failure = Failure::from(error);
        let report = Err::<(), _>(failure.report)
            .wrap_err(format!("{} must run, and the store cannot be written", count(running, "stage")));
        return Err(Failure {
            code: failure.code,
            report: report.err().unwrap_or_else(|| miette::miette!("read-only")),
        });
    }
    ui.note(&format!(
        "{error}; everything is cached, so nothing needs to be written: no run is recorded, nothing copied out"
    ));
    if args.json {
        let stages: Vec<_> = rows.iter().map(plan::Row::as_json).collect();
        let report = json!({
            "run": null, "pipeline": planned.pipeline.name, "status": RunStatus::Ok, "stages": stages, "exported": {},
        });
        ui.data(&report.to_string())?;
    } else {
        plan::show(&rows, (&Estimate::default(), 1), ui)?;
    }
    Ok(ExitCode::Ok)
}

fn exit_code(report: &RunReport) -> ExitCode {
    match report.status {
        RunStatus::Ok => ExitCode::Ok,
        RunStatus::Failed => ExitCode::Stage,
        RunStatus::Interrupted => ExitCode::Interrupted,
    }
}
