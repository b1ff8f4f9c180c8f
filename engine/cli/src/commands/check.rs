use clap::Args;
use refit_engine::graph::Pipeline;
use serde_json::json;

use super::open;
use crate::{
    args::PipelineArgs,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit check pipelines/helpdesk
  refit check -S stages.train.with.rank=64      whether a changed value would do

Ends with exit code 4 when the file has mistakes. Nothing is run, fetched or written.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print one JSON object when the file is right.
    #[arg(long)]
    json: bool,
}

/// Checks a pipeline file.
pub(crate) fn check(args: &CheckArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    if args.json {
        ui.data(&summary(&pipeline).to_string())?;
    } else {
        ui.say(&format!("{}: {}, no mistakes", pipeline.name, count(pipeline.stages.len(), "stage")));
    }
    Ok(ExitCode::Ok)
}

fn summary(pipeline: &Pipeline) -> serde_json::Value {
    json!({
        "pipeline": pipeline.name,
        "file": pipeline.file,
        "stages": pipeline.stages.stages().map(|node| &node.name).collect::<Vec<_>>(),
        "warnings": pipeline.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
