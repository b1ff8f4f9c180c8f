//! Why: one stage as it stands, or two runs beside each other.

mod runs;
mod stage;

use clap::Args;
use miette::miette;
use refit_engine::explain::Cause;

use crate::{
    args::{PipelineArgs, StoreArgs},
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(
    override_usage = "refit explain [OPTIONS] STAGE [PIPELINE]\n       refit explain [OPTIONS] RUN_A RUN_B [STAGE]",
    after_help = "\
Examples:
  refit explain train
  refit explain train pipelines/helpdesk
  refit explain train pipelines/helpdesk -S params.rank=8   why a changed value would run it
  refit explain latest~1 latest                             why two runs differ
  refit explain baseline latest train                       why a stage is not the same in both"
)]
pub(crate) struct ExplainArgs {
    /// The stage; or the first run: `latest`, a name, or the beginning of an id.
    #[arg(value_name = "STAGE|RUN_A")]
    first: String,
    /// The pipeline, a file or a folder; or the second run.
    #[arg(value_name = "PIPELINE|RUN_B", value_hint = clap::ValueHint::AnyPath)]
    second: Option<String>,
    /// Of two runs, the stage to explain; without it, all that differ.
    #[arg(value_name = "STAGE")]
    third: Option<String>,
    /// Change a value for this once, such as `stages.train.with.rank=16` or `params.epochs=2`.
    #[arg(short = 'S', long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Of a stage's causes, the nearest are shown.
const SHOWN: usize = 3;

/// Explains a stage, or what made two runs different.
pub(crate) fn explain(args: &ExplainArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    // What is on disk is a pipeline; whoever has a run named like a folder writes `./`.
    let second = args.second.as_deref();
    let is_path = second.is_none_or(|second| std::path::Path::new(second).exists());
    if let Some(b) = second.filter(|_| args.third.is_some() || !is_path) {
        if !args.set.is_empty() {
            return Err(Failure::usage(miette!(
                code = "explain::set_of_a_run",
                help = "`-S` is for a stage as it would be: `refit explain STAGE -S PATH=VALUE`",
                "a past run cannot be changed"
            )));
        }
        return runs::runs((&args.first, b, args.third.as_deref()), &args.store, args.json, ui, environment);
    }
    let pipeline =
        PipelineArgs { pipeline: second.unwrap_or(".").into(), set: args.set.clone(), store: args.store.clone() };
    stage::stage(&args.first, &pipeline, args.json, ui, environment)
}

/// The nearest causes, one a line.
fn nearest(causes: &[Cause], ui: Ui) -> Vec<String> {
    let shown = if ui.is_verbose() { causes.len() } else { SHOWN };
    let mut lines: Vec<String> = causes.iter().take(shown).map(ToString::to_string).collect();
    if causes.len() > shown {
        lines.push(format!("… and {}; `-v` shows all", count(causes.len() - shown, "more cause")));
    }
    lines
}
