use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{open, recall};
use crate::{
    args::PipelineArgs,
    environment::Environment,
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
pub(crate) fn check(args: &CheckArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    if let Some(recalled) = recall::pipeline(&args.pipeline, environment) {
        let stages: Vec<&str> = recalled.stages().iter().map(|stage| stage.name.as_str()).collect();
        // A pipeline about which there is something to say is read every time.
        return tell(recalled.pipeline(), recalled.file(), &stages, &[], args.json, ui);
    }
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    let stages: Vec<&str> = pipeline.stages.stages().map(|node| node.name.as_str()).collect();
    let warnings: Vec<String> = pipeline.warnings.iter().map(ToString::to_string).collect();
    tell(&pipeline.name, &pipeline.file, &stages, &warnings, args.json, ui)
}

fn tell(
    pipeline: &str,
    file: &Path,
    stages: &[&str],
    warnings: &[String],
    as_json: bool,
    ui: Ui,
) -> Result<ExitCode, Failure> {
    if as_json {
        let right = json!({ "pipeline": pipeline, "file": file, "stages": stages, "warnings": warnings });
        ui.data(&right.to_string())?;
    } else {
        ui.say(&format!("{pipeline}: {}, no mistakes", count(stages.len(), "stage")));
    }
    Ok(ExitCode::Ok)
}
