use clap::Args;
use miette::miette;
use refit_cache::{Pin, Pinned};
use refit_engine::run::find_run;
use serde_json::json;

use super::target::Target;
use crate::{
    args::{PipelineArgs, StoreOfArgs},
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, count, local_time},
};

/// Arguments of `cache pin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache pin 4f2                          a run: its record and all its results
  refit cache pin baseline                     the same by its name; `latest` is the newest
  refit cache pin train.adapter                the result of a stage of the pipeline here, as it stands
  refit cache pin train pipelines/helpdesk -S params.rank=8

A result is kept whole, with all outputs of its stage. Pinning works beside a run under way.")]
pub(crate) struct PinArgs {
    /// What to keep: a run, by its name, `latest` or any beginning of its id, or a stage's result.
    #[arg(value_name = "RUN|STAGE[.PORT]")]
    what: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Arguments of `cache unpin`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache unpin train.adapter
  refit cache unpin 4f2")]
pub(crate) struct UnpinArgs {
    /// A pin as `cache pins` shows it: its name, or any beginning of its run's id or its key; or a run as it is pinned.
    #[arg(value_name = "PIN")]
    what: String,
    #[command(flatten)]
    store: StoreOfArgs,
}

/// Arguments of `cache pins`.
#[derive(Debug, Args)]
pub(crate) struct PinsArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Keeps a run or a result.
pub(super) fn pin(args: &PinArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let (store, target) = Target::find(&args.what, &args.pipeline, ui, environment)?;
    let pin = match target {
        Target::Run(run) => store.pin_run(&run, run.as_str())?,
        Target::Result { key, .. } => store.pin_result(&key, &args.what)?,
    };
    ui.say(&format!("pinned {} ({})", pin.name, count(pin.results.len(), "result")));
    Ok(ExitCode::Ok)
}

/// Removes a pin.
pub(super) fn unpin(args: &UnpinArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let pins = store.pins()?;
    let mut meant: Vec<&Pin> = pins.iter().filter(|pin| pin.name == args.what).collect();
    if meant.is_empty() {
        meant = pins.iter().filter(|pin| begins_with(pin, &args.what)).collect();
    }
    if meant.is_empty()
        && let Ok(run) = find_run(&store, &args.what)
    {
        meant = pins.iter().filter(|pin| pin.pinned == Pinned::Run(run.clone())).collect();
    }
    match meant[..] {
        [pin] => {
            store.unpin(&pin.pinned)?;
            ui.say(&format!("unpinned {}; the next `refit cache gc` may drop it", pin.name));
            Ok(ExitCode::Ok)
        }
        [] => Err(Failure::usage(miette!(
            code = "cache::unknown_pin",
            help = "`refit cache pins` lists them",
            "nothing is pinned as `{}`",
            args.what
        ))),
        _ => {
            let keys: Vec<String> = meant.iter().map(|pin| short(pin)).collect();
            let help = format!("name one of them: {}", keys.join(", "));
            Err(Failure::usage(miette!(
                code = "cache::ambiguous_pin",
                help = help,
                "`{}` fits {} pins",
                args.what,
                meant.len()
            )))
        }
    }
}

/// Lists what is pinned.
pub(super) fn pins(args: &PinsArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let pins = store.pins()?;
    if args.json {
        ui.data(&json!({ "pins": pins }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    if pins.is_empty() {
        ui.say("nothing is pinned");
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    table.row(["pin", "what", "since", "results"]);
    for pin in &pins {
        table.row([pin.name.clone(), short(pin), local_time(pin.created), pin.results.len().to_string()]);
    }
    ui.data(&table.text())?;
    Ok(ExitCode::Ok)
}

fn begins_with(pin: &Pin, text: &str) -> bool {
    match &pin.pinned {
        Pinned::Run(run) => run.begins_with(text),
        Pinned::Result(key) => key.to_string().starts_with(text),
    }
}

fn short(pin: &Pin) -> String {
    match &pin.pinned {
        Pinned::Run(run) => run.to_string(),
        Pinned::Result(key) => key.short(),
    }
}
