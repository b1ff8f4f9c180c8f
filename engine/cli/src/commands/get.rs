use std::path::PathBuf;

use clap::Args;
use miette::miette;
use refit_cache::{Content, Exported};
use refit_engine::plan::{Force, StepState, sentence};
use serde_json::json;

use super::open;
use crate::{
    args::PipelineArgs,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, bytes},
};

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit get train.adapter --to adapter
  refit get compare.comparison pipelines/helpdesk --to report
  refit get after.metrics -S params.rank=8 --to metrics     a result of other values, if it is in the store

What is there already is replaced only if refit wrote it and nobody changed it.")]
pub(crate) struct GetArgs {
    /// The stage and its output.
    #[arg(value_name = "STAGE.PORT")]
    result: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Where to: the folder to make, or, of a result that is one file, that file.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Copies a result of the pipeline as it stands out of the store.
pub(crate) fn get(args: &GetArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let (name, port) = args.result.split_once('.').ok_or_else(|| {
        let help = format!("name the stage and its output: `refit get {}.PORT`", args.result);
        Failure::usage(miette!(code = "get::no_port", help = help, "`{}` names no output of a stage", args.result))
    })?;
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    let node = open::stage(&pipeline, name)?;
    if node.kind.output(port).is_none() {
        let ports: Vec<&str> = node.kind.outputs.iter().map(|port| port.name).collect();
        let help = format!("its outputs: {}", ports.join(", "));
        let kind = node.kind.name;
        return Err(Failure::usage(miette!(
            code = "get::unknown_port",
            help = help,
            "`{name}` ({kind}) has no output `{port}`"
        )));
    }
    let planned = open::planned(pipeline, &args.pipeline.store, Force::Nothing, environment)?;
    let step = planned.plan.steps.iter().find(|step| step.stage == name);
    let Some(tree) = step.and_then(|step| step.outputs.get(port)) else {
        let why = step.map(|step| sentence(&step.reasons)).unwrap_or_default();
        let help = format!("`refit run {} --to {name}` makes it", args.pipeline.pipeline.display());
        return Err(Failure {
            code: if step.is_some_and(|step| step.state == StepState::Run) {
                ExitCode::Stale
            } else {
                ExitCode::Engine
            },
            report: miette!(code = "get::stale", help = help, "the result of `{name}` is not in the store: {why}"),
        });
    };
    let to = match &tree.content {
        // Into a folder, as `cp` does.
        Content::File(_) if args.to.is_dir() => args.to.join(port),
        _ => args.to.clone(),
    };
    let exported = planned.store.export(tree, &to, None)?;
    let written = exported == Exported::Written;
    if args.json {
        let done = json!({ "path": to, "digest": tree.digest, "bytes": tree.bytes, "written": written });
        ui.data(&done.to_string())?;
    } else {
        let how = if written { bytes(tree.bytes) } else { "there already".into() };
        ui.say(&format!("{} ← {} ({how})", to.display(), args.result));
    }
    Ok(ExitCode::Ok)
}
