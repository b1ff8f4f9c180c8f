use std::{
    collections::{BTreeSet, HashMap},
    num::NonZero,
};

use clap::Args;
use refit_cache::{Digest, StepKey};
use refit_engine::{
    graph::Pipeline,
    plan::{Estimate, Plan, Reason, Step, StepState, sentence},
    run::StageReport,
};
use serde_json::{Value, json};

use super::{
    memory::{self, Headers, Needed},
    open, recall,
    selection::SelectionArgs,
};
use crate::{
    args::PipelineArgs,
    config::Device,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    machine,
    ui::{Table, Ui, count, duration},
};

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit plan pipelines/helpdesk
  refit plan -S params.epochs=2                 what a changed value would cost
  refit plan --exit-code -q || echo stale       for scripts
  refit plan --memory                           what each training and evaluation needs at its peak

Nothing is run or written, and a run under way is not disturbed. Nothing is fetched, but for the headers
of a model that is not here when --memory is asked for.")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArgs,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    /// Estimate the time for so many steps at a time [default: as `run` takes them].
    #[arg(short, long)]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// Estimate the peak memory of the trainings that would run, on a CPU or a GPU, from the headers of their models and the
    /// lengths of their rows.
    #[arg(long)]
    pub(crate) memory: bool,
    /// Where models would run, for the estimate of memory, as for `run` [default: auto].
    #[arg(long, requires = "memory")]
    pub(crate) device: Option<Device>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// End with exit code 10 when something would run.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// Shows what would run, without a lock and without changing anything.
pub(crate) fn plan(args: &PlanArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let jobs = args.jobs.map_or_else(|| environment.config.jobs(), usize::from);
    if let Some((_, recalled)) = recall::look(&args.pipeline, &args.selection, environment)? {
        let rows: Vec<Row<'_>> = recalled.stages().iter().map(Row::of_cached).collect();
        return tell(recalled.pipeline(), &rows, (&Estimate::default(), jobs), args, ui);
    }
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    let (selected, force) = args.selection.resolve(&pipeline)?;
    let planned = open::planned(pipeline, &args.pipeline.store, force, environment)?;
    let mut rows = rows(&planned.pipeline, &planned.plan, &selected);
    let device: String = args.device.clone().or_else(|| environment.config.device.clone()).unwrap_or_default().into();
    if args.memory {
        let (device, mut headers) = (memory::place(&device), Headers::new(environment)?);
        for row in rows.iter_mut().filter(|row| row.would_run()) {
            row.memory = memory::needed(row.stage, &planned, device, &mut headers);
        }
    }
    let running: HashMap<&str, Option<f64>> =
        rows.iter().filter(|row| row.would_run()).map(|row| (row.stage, row.seconds)).collect();
    let mut capacity = machine::capacity(&planned.pipeline, &environment.config, &device);
    (capacity.steps, capacity.cpu) = (jobs, capacity.cpu.max(jobs as u32));
    let estimate = Estimate::of(&planned.pipeline, capacity, |stage| running.get(stage).copied());
    // What is known comes first, as it does in a run; then what runs, in the order of its turns; then what cannot.
    let names: Vec<&str> = planned.pipeline.stages.stages().map(|node| node.name.as_str()).collect();
    let turns: HashMap<&str, usize> = estimate.order.iter().map(|step| names[*step]).zip(0..).collect();
    rows.sort_by_key(|row| (row.outlook == Outlook::Blocked, turns.get(row.stage).copied()));
    tell(&planned.pipeline.name, &rows, (&estimate, jobs), args, ui)
}

fn tell(
    pipeline: &str,
    rows: &[Row<'_>],
    (estimate, jobs): (&Estimate, usize),
    args: &PlanArgs,
    ui: Ui,
) -> Result<ExitCode, Failure> {
    let stale = is_stale(rows);
    if args.json {
        let status = if stale { "stale" } else { "fresh" };
        let stages: Vec<Value> = rows.iter().map(Row::as_json).collect();
        let estimate = json!({ "seconds": estimate.seconds, "jobs": jobs, "unknown": estimate.unknown });
        let planned = json!({ "pipeline": pipeline, "status": status, "stages": stages, "estimate": estimate });
        ui.data(&planned.to_string())?;
    } else {
        show(rows, (estimate, jobs), ui)?;
    }
    Ok(if args.exit_code && stale { ExitCode::Stale } else { ExitCode::Ok })
}

/// What a run of the selected stages would make of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Cached,
    Run,
    /// It needs the result of a stage that is not selected and has none, or a source that cannot be had.
    Blocked,
    /// It would run, but is not selected.
    Skipped,
}

impl Outlook {
    fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Run => "run",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Cached => "32",
            Self::Run => "36",
            Self::Blocked => "33",
            Self::Skipped => "2",
        }
    }
}

/// One stage of a plan.
pub(super) struct Row<'p> {
    stage: &'p str,
    kind: &'p str,
    outlook: Outlook,
    key: Option<StepKey>,
    reasons: &'p [Reason],
    /// What it took the last time it ran.
    seconds: Option<f64>,
    /// Port, content and bytes of what is in the store.
    outputs: Vec<(&'p str, Digest, u64)>,
    /// What it needs at its peak, if that was asked for and its kind can tell.
    memory: Option<Needed>,
}

/// What a run of the selected stages would make of each stage.
pub(super) fn rows<'p>(pipeline: &Pipeline, plan: &'p Plan, selected: &BTreeSet<String>) -> Vec<Row<'p>> {
    let mut without_result = BTreeSet::new();
    let mut rows = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let lacks_input = pipeline.stages.dependencies(&step.stage).iter().any(|stage| without_result.contains(stage));
        let outlook = match step.state {
            StepState::Cached => Outlook::Cached,
            _ if !selected.contains(&step.stage) => Outlook::Skipped,
            StepState::Run if !lacks_input => Outlook::Run,
            StepState::Run | StepState::Blocked => Outlook::Blocked,
        };
        if matches!(outlook, Outlook::Blocked | Outlook::Skipped) {
            without_result.insert(step.stage.as_str());
        }
        rows.push(Row::of_step(step, outlook));
    }
    rows
}

/// Whether a run of the selected stages would do anything.
pub(super) fn is_stale(rows: &[Row<'_>]) -> bool {
    rows.iter().any(|row| matches!(row.outlook, Outlook::Run | Outlook::Blocked))
}

impl<'p> Row<'p> {
    fn of_step(step: &'p Step, outlook: Outlook) -> Self {
        let outputs = step.outputs.iter().map(|(port, tree)| (port.as_str(), tree.digest, tree.bytes));
        Self {
            stage: &step.stage,
            kind: step.kind,
            outlook,
            key: step.key,
            reasons: &step.reasons,
            seconds: step.last_seconds,
            outputs: outputs.collect(),
            memory: None,
        }
    }

    fn of_cached(stage: &'p StageReport) -> Self {
        let outputs = stage.outputs.iter().map(|(port, output)| (port.as_str(), output.digest, output.bytes));
        Self {
            stage: &stage.name,
            kind: &stage.kind,
            outlook: Outlook::Cached,
            key: stage.key,
            reasons: &[],
            seconds: stage.seconds,
            outputs: outputs.collect(),
            memory: None,
        }
    }

    pub(super) fn would_run(&self) -> bool {
        self.outlook == Outlook::Run
    }

    /// As `run --json` shows a stage.
    pub(super) fn as_json(&self) -> Value {
        let outputs: serde_json::Map<_, _> = self
            .outputs
            .iter()
            .map(|(port, digest, bytes)| {
                ((*port).to_owned(), json!({ "digest": digest, "bytes": bytes, "path": null }))
            })
            .collect();
        let mut shown = json!({
            "name": self.stage, "kind": self.kind, "state": self.outlook.name(), "key": self.key,
            "reason": (!self.reasons.is_empty()).then(|| sentence(self.reasons)), "reasons": self.reasons,
            "seconds": self.seconds, "outputs": outputs,
        });
        if let Some(memory) = &self.memory {
            shown["memory"] = memory.as_json();
        }
        shown
    }
}

/// Prints a plan for people.
pub(super) fn show(rows: &[Row<'_>], (estimate, jobs): (&Estimate, usize), ui: Ui) -> Result<(), Failure> {
    let mut table = Table::new();
    for Row { stage, outlook, seconds, reasons, .. } in rows {
        let unknown = if *outlook == Outlook::Run { "?" } else { "" };
        let time = seconds.map_or_else(|| unknown.to_owned(), duration);
        table.row([(*stage).to_owned(), ui.paint_data(outlook.name(), outlook.color()), time, sentence(reasons)]);
    }
    ui.data(&table.text())?;
    let needed: Vec<_> = rows.iter().filter_map(|row| Some((row.stage, row.memory.as_ref()?))).collect();
    memory::show(&needed, ui)?;
    let running: Vec<&Row<'_>> = rows.iter().filter(|row| row.would_run()).collect();
    let steps = if jobs == 1 { "one step".to_owned() } else { format!("{jobs} steps") };
    let known = format!("about {} by past times, {steps} at a time", duration(estimate.seconds));
    // Of a stage that never ran nobody knows how long it takes.
    let time = match (running.len() - estimate.unknown, estimate.unknown) {
        (_, 0) => format!(", {known}"),
        (0, _) => ", for how long is not known: never ran".to_owned(),
        (_, unknown) => format!(", {known}, and {} of which no time is known", count(unknown, "stage")),
    };
    let blocked = rows.iter().filter(|row| row.outlook == Outlook::Blocked).count();
    let blocked_too = if blocked > 0 { format!(", {blocked} blocked") } else { String::new() };
    ui.say(&match running.len() + blocked {
        0 => "nothing to run".into(),
        _ => format!(
            "{} of {} would run{}{blocked_too}",
            running.len(),
            count(rows.len(), "stage"),
            if running.is_empty() { String::new() } else { time }
        ),
    });
    Ok(())
}
