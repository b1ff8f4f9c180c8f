use std::path::PathBuf;

use clap::Args;
use miette::miette;
use refit_cache::{Store, Tree};
use refit_engine::run::RunReport;
use refit_metrics::metric;
use serde_json::{Value, json};

use super::{
    get, open,
    runs::{FilterArgs, Row, compare, expect_known, plain, telling_parameters},
};
use crate::{
    args::StoreOfArgs,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, ago, count, score},
};

/// Arguments of `best`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit best --metric after.rouge_l
  refit best --metric after.loss --where params.rank=8 --since 7d     less loss is better, and refit knows it
  refit best --metric after.rouge_l --get train.adapter --to adapter  copy that run's adapter out
  refit run --from-run $(refit best --metric after.rouge_l --json | jq -r .run)")]
pub(crate) struct BestArgs {
    /// What decides: a score, a parameter or a fact such as `seconds`.
    #[arg(long, value_name = "NAME")]
    metric: String,
    /// Less is better; it is for `loss` and `seconds` unless `--max` is given.
    #[arg(long, conflicts_with = "max")]
    min: bool,
    /// More is better.
    #[arg(long)]
    max: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// Copy this output of the run out of the store.
    #[arg(long, value_name = "STAGE.PORT", requires = "to")]
    get: Option<String>,
    /// Where to: the folder to make, or, of an output that is one file, that file.
    #[arg(long, value_name = "PATH", requires = "get", value_hint = clap::ValueHint::AnyPath)]
    to: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOfArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl BestArgs {
    /// Whether less is better.
    fn wants_less(&self) -> bool {
        let name = self.metric.rsplit_once('.').map_or(self.metric.as_str(), |(_, name)| name);
        let known = name == "seconds" || metric(name).is_some_and(|metric| !metric.higher_is_better);
        self.min || known && !self.max
    }
}

/// Picks one run.
pub(crate) fn best(args: &BestArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let rows = args.filter.rows(&store)?;
    expect_known(&rows, &args.metric)?;
    let less = args.wants_less();
    let valued = rows.iter().filter_map(|row| Some((row, row.value(&args.metric).filter(Value::is_number)?)));
    // The newest comes first, and the first of equals stays.
    let best = valued.clone().reduce(|best, other| {
        let order = compare(&other.1, &best.1);
        let better = if less { order.is_lt() } else { order.is_gt() };
        if better { other } else { best }
    });
    let Some((row, value)) = best else {
        return Err(Failure::usage(miette!(
            code = "best::no_run",
            help = "`refit runs --all` shows the runs and their scores",
            "none of {} that fit has a number named `{}`",
            count(rows.len(), "run"),
            args.metric
        )));
    };
    let compared = valued.count();
    let copied = match (&args.get, &args.to) {
        (Some(name), Some(to)) => {
            let tree = output(&store, row, name)?;
            Some((name, get::copy_out(&store, &tree, name, to)?))
        }
        _ => None,
    };
    if args.json {
        let mut told = row.as_json();
        told["metric"] = json!(args.metric);
        told["value"] = value;
        told["compared"] = json!(compared);
        told["copied"] = copied.map_or(Value::Null, |(_, copied)| copied.as_json());
        ui.data(&told.to_string())?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new();
    table.row(["run", row.id().as_str()]);
    if let Some(name) = &row.labels.name {
        table.row(["name", name]);
    }
    table.row(["began".to_owned(), ago(row.id().began())]);
    let is_score = row.summary.scores.contains_key(&args.metric);
    table.row([args.metric.clone(), value.as_f64().filter(|_| is_score).map_or_else(|| plain(&value), score)]);
    for name in telling_parameters(row, &rows).into_iter().filter(|name| *name != args.metric) {
        table.row([name.clone(), row.value(&name).as_ref().map(plain).unwrap_or_default()]);
    }
    ui.data(&table.text())?;
    let (which, all) = (if less { "least" } else { "most" }, count(compared, "run"));
    ui.say(&format!("the {which} {} of {all} that have it", args.metric));
    if let Some((name, copied)) = copied {
        copied.tell(name, ui);
    }
    Ok(ExitCode::Ok)
}

/// An output as this very run had it.
fn output(store: &Store, row: &Row<'_>, name: &str) -> Result<Tree, Failure> {
    let run = row.id();
    let (stage, port) = get::stage_and_port(name)?;
    let report = RunReport::read_stage(&store.run_folder(run), stage);
    let Some(report) = report.filter(|report| report.outputs.contains_key(port)) else {
        let help = format!("`refit runs show {run}` lists its stages and their outputs");
        return Err(Failure {
            code: ExitCode::Engine,
            report: miette!(code = "best::no_output", help = help, "run {run} has no output `{name}`"),
        });
    };
    report.result(store)?.and_then(|mut made| made.outputs.remove(port)).ok_or_else(|| {
        let help = format!(
            "`refit run --from-run {run}` makes it anew, the same where the stages are deterministic; \
             `refit cache pin` keeps what a run made"
        );
        Failure {
            code: ExitCode::Engine,
            report: miette!(code = "best::gone", help = help, "`{name}` of run {run} is not in the store any more"),
        }
    })
}
