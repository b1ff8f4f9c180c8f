//! From other tools' files to a pipeline.

mod carry;
mod dvc_file;
mod names;
mod remark;
mod template;

use std::path::{Path, PathBuf};

use clap::Args;
use miette::miette;
use refit_engine::graph::{self, PIPELINE_FILE};
use serde_json::json;

use self::{carry::Carried, dvc_file::DvcFile};
use crate::{
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit import dvc.yaml                 writes pipeline.yaml beside it
  refit import dvc.yaml --to pipeline   writes pipeline/pipeline.yaml; outputs go there too, sources stay
  refit import dvc.yaml --print         only shows it

Every stage becomes an `exec` stage; `foreach` and `matrix` are written out; parameters become `params`. What cannot be
carried over is listed with its line and the reason. Nothing of DVC's is changed.")]
pub(crate) struct ImportArgs {
    /// The dvc.yaml.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The folder to write pipeline.yaml into [default: that of the file].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    to: Option<PathBuf>,
    /// Print the pipeline instead of writing it.
    #[arg(long)]
    print: bool,
    /// Print one JSON object: the file written, its stages, and what was not carried over.
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

/// Writes an equivalent pipeline.
pub(crate) fn import(args: &ImportArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let file = fs_err::canonicalize(&args.file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let to = args.to.clone().unwrap_or_else(|| folder.to_owned());
    let target = to.join(PIPELINE_FILE);
    if !args.print && target.symlink_metadata().is_ok() {
        let help = "name another folder with `--to`; nothing was written";
        return Err(Failure::usage(miette!(
            code = "import::exists",
            help = help,
            "{} is there already",
            target.display()
        )));
    }
    let read = DvcFile::read(&file)?;
    if !args.print {
        fs_err::create_dir_all(&to)?;
    }
    let base = between(&fs_err::canonicalize(&to).unwrap_or(to), folder);
    let mut carried = Carried::new(&read, folder, base);
    let name = folder.file_name().map_or_else(|| "imported".into(), |name| name.to_string_lossy());
    let pipeline = carried.pipeline(&names::Names::default().of(&name));
    let remarks = carried.remarks;
    let shown = args.file.display();
    let body = serde_yaml::to_string(&pipeline).map_err(|error| std::io::Error::other(error.to_string()))?;
    let text = format!("# Made of {shown} by `refit import`.\n{body}");
    for remark in &remarks {
        ui.note(&format!("{shown}:{}: {}: {}", remark.line, remark.what, remark.why));
    }
    // What is written is a pipeline that can be run, or it is not written.
    graph::load_text(&target, &text, &[], &refit_stages::registry())?;
    if args.print {
        ui.data(text.trim_end())?;
        return Ok(ExitCode::Ok);
    }
    refit_cache::write_atomic(&target, text.as_bytes())?;
    if args.json {
        let stages: Vec<&String> =
            pipeline["stages"].as_object().into_iter().flat_map(|stages| stages.keys()).collect();
        ui.data(&json!({ "file": target, "stages": stages, "remarks": remarks }).to_string())?;
    }
    ui.say(&format!("{} with {} is written", target.display(), count(read.stages.len(), "stage")));
    ui.say(&format!("run it: refit run {}", target.parent().unwrap_or(Path::new(".")).display()));
    Ok(ExitCode::Ok)
}

/// The way from one absolute folder to another.
fn between(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..");
    up.collect::<PathBuf>().join(to.components().skip(shared).collect::<PathBuf>())
}
