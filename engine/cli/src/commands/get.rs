use std::path::{Path, PathBuf};

use clap::Args;
use miette::miette;
use refit_cache::{Content, Digest, Exported, Store, Tree};
use refit_engine::plan::{Force, StepState, sentence};
use serde_json::{Value, json};

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
    let (name, port) = stage_and_port(&args.result)?;
    let pipeline = open::pipeline(&args.pipeline, ui)?;
    let node = open::stage(&pipeline, name)?;
    let name = node.name.clone();
    if node.output(port).is_none() {
        let ports: Vec<&str> = node.outputs.iter().map(|port| port.name.as_ref()).collect();
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
    let copied = copy_out(&planned.store, tree, &args.result, &args.to)?;
    if args.json {
        ui.data(&copied.as_json().to_string())?;
    } else {
        copied.tell(&args.result, ui);
    }
    Ok(ExitCode::Ok)
}

/// The two parts of `STAGE.PORT`; the name of a copy of a stage may hold dots of its own.
pub(super) fn stage_and_port(text: &str) -> Result<(&str, &str), Failure> {
    text.rsplit_once('.').ok_or_else(|| {
        let help = format!("name the stage and its output: `{text}.PORT`");
        Failure::usage(miette!(code = "get::no_port", help = help, "`{text}` names no output of a stage"))
    })
}

/// What was copied where.
pub(super) struct Copied {
    to: PathBuf,
    digest: Digest,
    bytes: u64,
    written: bool,
}

/// Copies `STAGE.PORT` to a place: into a folder that is there, one file goes as `cp` does it.
pub(super) fn copy_out(store: &Store, tree: &Tree, result: &str, to: &Path) -> Result<Copied, Failure> {
    let to = match &tree.content {
        Content::File(_) | Content::Executable(_) if to.is_dir() => to.join(stage_and_port(result)?.1),
        _ => to.to_owned(),
    };
    let exported = store.export(tree, &to, None)?;
    Ok(Copied { to, digest: tree.digest, bytes: tree.bytes, written: exported == Exported::Written })
}

impl Copied {
    /// For scripts.
    pub(super) fn as_json(&self) -> Value {
        json!({ "path": self.to, "digest": self.digest, "bytes": self.bytes, "written": self.written })
    }

    /// For people.
    pub(super) fn tell(&self, result: &str, ui: Ui) {
        let how = if self.written { bytes(self.bytes) } else { "there already".into() };
        ui.say(&format!("{} ← {result} ({how})", self.to.display()));
    }
}
