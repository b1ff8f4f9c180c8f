//! A commented pipeline with sample data, to begin from.

use std::path::{Path, PathBuf};

use clap::Args;
use miette::miette;

use crate::{exit_code::ExitCode, failure::Failure, ui::Ui};

/// Arguments of `new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit new my-model && refit run my-model

Makes pipeline.yaml and data/questions.jsonl. What is there already is never overwritten.")]
pub(crate) struct NewArgs {
    /// The folder to make, or to put the files into.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

/// What a new pipeline consists of.
const FILES: [(&str, &str); 3] = [
    ("pipeline.yaml", include_str!("pipeline.yaml")),
    ("data/questions.jsonl", include_str!("questions.jsonl")),
    (".gitignore", include_str!("gitignore")),
];

/// Begins a pipeline.
pub(crate) fn new(args: &NewArgs, ui: Ui) -> Result<ExitCode, Failure> {
    let folder = &args.dir;
    let there: Vec<&str> =
        FILES.into_iter().map(|(name, _)| name).filter(|name| folder.join(name).symlink_metadata().is_ok()).collect();
    if !there.is_empty() {
        return Err(Failure::usage(miette!(
            code = "new::not_empty",
            help = "name another folder; nothing was written",
            "{} already holds {}",
            folder.display(),
            there.join(", ")
        )));
    }
    for (name, text) in FILES {
        write(&folder.join(name), text)?;
    }
    let shown = folder.display();
    ui.say(&format!("{shown}/pipeline.yaml and {shown}/data/questions.jsonl are made"));
    ui.say(&format!("run it:          refit run {shown}"));
    ui.say(&format!("your own data:   put it in place of {shown}/data/questions.jsonl, then `refit check {shown}`"));
    Ok(ExitCode::Ok)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut file = fs_err::File::create_new(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    Ok(())
}
