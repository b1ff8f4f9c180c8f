//! Curves of trainings, over each other: in the terminal and as a picture.

mod braille;
#[cfg(feature = "plot")]
mod picture;
mod series;

use std::path::PathBuf;

use clap::Args;
use miette::miette;
use refit_engine::run::{RunReport, find_run};
use serde_json::{Value, json};

use self::series::Series;
use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, score},
};

/// Arguments of `runs plot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit runs plot                                       the loss of the newest run
  refit runs plot baseline latest --metric validation_loss
  refit runs plot latest latest~1 latest~2 --to loss.svg")]
pub(crate) struct PlotArgs {
    /// The runs: `latest`, names, or beginnings of ids [default: latest].
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
    /// What to plot: any number in the histories, such as `loss`, `validation_loss`, `learning_rate`.
    #[arg(long, value_name = "NAME", default_value = "loss")]
    metric: String,
    /// Only the history of this stage.
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Write a picture, too: an `.svg` or a `.png` file.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    to: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print the points as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Without a terminal, a chart is this wide.
const USUAL_WIDTH: usize = 80;

/// Plots a number over the steps of trainings.
pub(in crate::commands::runs) fn plot(args: &PlotArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let latest = ["latest".to_owned()];
    let wanted = if args.runs.is_empty() { latest.as_slice() } else { &args.runs };
    let mut all = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for text in wanted {
        let run = find_run(&store, text)?;
        let report = RunReport::read(&store.run_folder(&run));
        let stages = report.into_iter().flat_map(|report| report.stages);
        for stage in stages.filter(|stage| args.stage.as_ref().is_none_or(|name| *name == stage.name)) {
            for rows in series::histories(&store, &stage) {
                known.extend(series::numbers(&rows));
                all.extend(Series::of(format!("{text} {}", stage.name), &rows, &args.metric));
            }
        }
    }
    if all.is_empty() {
        let help = if known.is_empty() {
            "a history comes from a training; `cache gc` may have dropped it".to_owned()
        } else {
            format!("the histories hold: {}", known.into_iter().collect::<Vec<_>>().join(", "))
        };
        let what = format!("no history of {} holds `{}`", wanted.join(", "), args.metric);
        return Err(Failure::usage(miette!(code = "plot::nothing", help = help, "{what}")));
    }
    if let Some(to) = &args.to {
        draw(&all, &args.metric, to)?;
    }
    if args.json {
        let series: Vec<Value> =
            all.iter().map(|series| json!({ "name": series.name, "points": series.points })).collect();
        ui.data(&json!({ "metric": args.metric, "series": series, "file": args.to }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let width = ui.data_width().unwrap_or(USUAL_WIDTH);
    for line in braille::chart(&all, width, |text, color| ui.paint_data(text, color)) {
        ui.data(&line)?;
    }
    let mut table = Table::new();
    table.row(["", args.metric.as_str(), "first", "last", "least"]);
    for (place, series) in all.iter().enumerate() {
        let numbers = [series.first(), series.last(), series.least()].map(score);
        let name = ui.paint_data(&series.name, braille::color(place));
        table.row([name, braille::sparkline(series)].into_iter().chain(numbers));
    }
    ui.data(&table.text())?;
    if let Some(to) = &args.to {
        ui.say(&format!("{} written", to.display()));
    }
    Ok(ExitCode::Ok)
}

#[cfg(feature = "plot")]
fn draw(all: &[Series], metric: &str, to: &std::path::Path) -> Result<(), Failure> {
    picture::draw(all, metric, to)
}

#[cfg(not(feature = "plot"))]
fn draw(_: &[Series], _: &str, _: &std::path::Path) -> Result<(), Failure> {
    Err(Failure::usage(miette!(
        code = "plot::no_pictures",
        help = "leave `--to` out for a chart in the terminal, or build refit with its feature `plot`",
        "this refit was built without pictures"
    )))
}
