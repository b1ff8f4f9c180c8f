use std::cmp::Ordering;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Row,
    columns::{Breadth, Column},
    condition::compare,
    filter::{FilterArgs, expect_known},
    listing,
    sheet::FormatArgs,
};
use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Ui, count},
};

/// Arguments of `runs ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// Sort by a parameter, a score or a fact such as `seconds`; `-NAME` puts the largest first.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Show these parameters and scores; `after.*` stands for all that begin so.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "all")]
    columns: Vec<String>,
    /// Show every parameter and score, not only what tells the runs apart.
    #[arg(short, long)]
    all: bool,
    /// At most so many; 0 for all.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    format: FormatArgs,
}

/// Lists runs, newest first unless another order is asked for.
pub(super) fn ls(args: &LsArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let store = open::store_of(&args.store, environment)?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    // Where every run fits and the order is that of the runs, those that are not shown need not be read.
    let (mut rows, total) = if args.filter.is_open() && args.sort.is_none() {
        let all = Row::all(&store)?;
        let total = all.len();
        (all.take(limit).collect(), total)
    } else {
        let rows = args.filter.rows(&store)?;
        let total = rows.len();
        (rows, total)
    };
    if let Some(name) = &args.sort {
        sort(&mut rows, name)?;
    }
    rows.truncate(limit);
    for name in args.columns.iter().filter(|name| !name.ends_with('*')) {
        expect_known(&rows, name)?;
    }
    let more = total - rows.len();
    if args.format.json {
        let runs: Vec<Value> = rows.iter().map(Row::as_json).collect();
        ui.data(&json!({ "runs": runs, "more": more }).to_string())?;
        return Ok(ExitCode::Ok);
    }
    let breadth = match args.columns.as_slice() {
        [] if args.all => Breadth::All,
        [] => Breadth::Differing,
        names => Breadth::Named(names),
    };
    let columns = Column::choose(&rows, breadth);
    if rows.is_empty() && !args.format.wants_sheet() {
        ui.say("no runs");
    } else {
        listing::print(&rows, columns, args.format, ui)?;
    }
    if more > 0 {
        ui.say(&format!("{} more; show them with `-n`", count(more, "run")));
    }
    Ok(ExitCode::Ok)
}

/// Sorts by a value; runs that do not have it come last either way. Among equals the newest comes first.
fn sort(rows: &mut [Row<'_>], by: &str) -> Result<(), Failure> {
    let (name, backwards) = by.strip_prefix('-').map_or((by, false), |name| (name, true));
    expect_known(rows, name)?;
    rows.sort_by_cached_key(|row| Rank { value: row.value(name), backwards });
    Ok(())
}

/// The place of a run in the order asked for.
struct Rank {
    value: Option<Value>,
    backwards: bool,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.value, &other.value) {
            (Some(a), Some(b)) if self.backwards => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Rank {}
