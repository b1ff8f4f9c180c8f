use clap::Args;
use miette::miette;
use refit_engine::run::{Labels, find_run};
use serde_json::json;

use crate::{
    args::StoreOfArgs, commands::open, environment::Environment, exit_code::ExitCode, failure::Failure, ui::Ui,
};

/// Arguments of `runs tag`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit runs tag latest +shipped -candidate     put a tag on, take another off
  refit runs tag baseline                       show its tags")]
pub(crate) struct TagArgs {
    /// The run: `latest`, a name, or the beginning of an id.
    run: String,
    /// `+TAG` or `TAG` to put on, `-TAG` to take off.
    #[arg(value_name = "TAG", allow_hyphen_values = true)]
    tags: Vec<String>,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `runs name`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit runs name latest baseline
  refit runs name baseline --none       take the name away")]
pub(crate) struct NameArgs {
    /// The run: `latest`, a name, or the beginning of an id.
    run: String,
    /// The new name. Another run may have it, too: the newest one is meant by it.
    #[arg(required_unless_present = "none", conflicts_with = "none", value_parser = label)]
    name: Option<String>,
    /// Take its name away.
    #[arg(long)]
    none: bool,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A name or tag given on the command line.
pub(crate) fn label(text: &str) -> Result<String, String> {
    use miette::Diagnostic;
    Labels::checked(text).map_err(|error| {
        let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{error}{help}")
    })
}

/// Changes the tags of a run.
pub(super) fn tag(args: &TagArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    change(&args.run, &args.store, args.json, ui, environment, |labels| {
        for text in &args.tags {
            if text.starts_with("--") {
                return Err(Failure::usage(miette!(
                    code = "runs::bad_tag",
                    help = "options stand before the run: `refit runs tag --json latest +a`",
                    "`{text}` is no tag"
                )));
            }
            if let Some(tag) = text.strip_prefix('-') {
                if !labels.tags.remove(tag) {
                    ui.note(&format!("the run has no tag `{tag}`"));
                }
            } else {
                let tag = text.strip_prefix('+').unwrap_or(text);
                labels.tags.insert(Labels::checked(tag).map_err(|error| Failure::usage(error.into()))?);
            }
        }
        Ok(())
    })
}

/// Changes the name of a run.
pub(super) fn name(args: &NameArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    change(&args.run, &args.store, args.json, ui, environment, |labels| {
        labels.name.clone_from(&args.name);
        Ok(())
    })
}

fn change(
    run: &str,
    store: &StoreOfArgs,
    as_json: bool,
    ui: Ui,
    environment: &Environment,
    change: impl FnOnce(&mut Labels) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let store = open::store_of(store, environment)?;
    let run = find_run(&store, run)?;
    let folder = store.run_folder(&run);
    let before = Labels::read(&folder);
    let mut labels = before.clone();
    change(&mut labels)?;
    if labels != before {
        labels.write(&folder).map_err(|error| Failure {
            code: ExitCode::Engine,
            report: miette!(
                code = "runs::labels",
                help = "the store needs space and the right to write",
                "the labels of run {run} cannot be written: {error}"
            ),
        })?;
    }
    if as_json {
        ui.data(&json!({ "run": run, "name": labels.name, "tags": labels.tags }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let tags: Vec<&str> = labels.tags.iter().map(String::as_str).collect();
    let name = labels.name.as_ref().map(|name| format!(", named {name}")).unwrap_or_default();
    let tags = if tags.is_empty() { "no tags".to_owned() } else { format!("tags: {}", tags.join(" ")) };
    ui.say(&format!("run {run}{name}, {tags}"));
    Ok(ExitCode::Ok)
}
