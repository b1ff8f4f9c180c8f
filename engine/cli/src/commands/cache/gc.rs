use std::time::Duration;

use clap::Args;
use miette::miette;
use refit_cache::{GcPolicy, Wait};
use refit_engine::spec::parse_size;

use super::size::age;
use crate::{
    args::StoreOfArgs,
    commands::open,
    environment::Environment,
    exit_code::ExitCode,
    failure::Failure,
    ui::{Table, Ui, bytes, count, local_time},
};

/// Arguments of `cache gc`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  refit cache gc --keep-runs 10               drop what the last 10 runs do not need
  refit cache gc --older-than 30d             drop what nobody used for 30 days
  refit cache gc --max-size 20GiB --dry-run   what would go to make room

One of the three is needed. The results of the newest run stay unless `--keep-runs 0` says otherwise;
what is pinned stays in any case (`refit cache pin`).")]
pub(crate) struct GcArgs {
    #[command(flatten)]
    store: StoreOfArgs,
    /// Keep all that the newest COUNT runs need; alone, drop everything else.
    #[arg(long, value_name = "COUNT")]
    keep_runs: Option<usize>,
    /// Of the rest, drop what was last used longer ago than this: `30d`, `12h`, `2w`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Then drop the least recently used until the store takes no more than this: `20GiB`, `500MB`.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Only say what would go.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl GcArgs {
    /// What is asked for; nothing when no scope was named.
    fn policy(&self) -> Option<GcPolicy> {
        let older_than = match (self.keep_runs, self.older_than, self.max_size) {
            (None, None, None) => return None,
            (_, Some(age), _) => Some(age),
            // Room is asked for: nothing goes by its age.
            (_, None, Some(_)) => Some(Duration::MAX),
            (Some(_), None, None) => None,
        };
        let keep_runs = self.keep_runs.unwrap_or(1);
        Some(GcPolicy { keep_runs, older_than, max_size: self.max_size, dry_run: self.dry_run, ..GcPolicy::default() })
    }
}

/// Drops results that no kept run needs.
pub(super) fn gc(args: &GcArgs, ui: Ui, environment: &Environment) -> Result<ExitCode, Failure> {
    let policy = args.policy().ok_or_else(|| {
        Failure::usage(miette!(
            code = "gc::no_scope",
            help = "say what to keep: `--keep-runs 10`, `--older-than 30d` or `--max-size 20GiB`; `--dry-run` shows what would go",
            "`gc` drops nothing without being told how much"
        ))
    })?;
    let store = open::store_of(&args.store, environment)?;
    let lock = store.lock("refit cache gc", Wait::Fail)?;
    let report = store.gc(&lock, &policy)?;
    for notice in &report.notices {
        ui.note(notice);
    }
    if args.json {
        let mut done = serde_json::to_value(&report)?;
        done["dry_run"] = policy.dry_run.into();
        ui.data(&done.to_string())?;
        return Ok(ExitCode::Ok);
    }
    if !report.results.is_empty() {
        let mut table = Table::new();
        for dropped in &report.results {
            let used = format!("last used {}", local_time(dropped.last_used));
            table.row([dropped.key.short(), dropped.kind.clone(), bytes(dropped.bytes), used]);
        }
        ui.data(&table.text())?;
    }
    ui.say(&format!(
        "{} {}: {}, {}, {}, {}",
        if policy.dry_run { "would free" } else { "freed" },
        bytes(report.freed_bytes),
        count(report.results.len(), "result"),
        count(report.objects as usize, "object"),
        count(report.runs.len(), "run"),
        count(report.leftovers as usize, "leftover"),
    ));
    ui.say(&format!("what stays: {}, {}", count(report.kept_results as usize, "result"), bytes(report.kept_bytes)));
    if report.spared_objects > 0 {
        let spared = count(report.spared_objects as usize, "young object");
        ui.say(&format!("{spared} of no result kept for an hour: whoever made them may still need them"));
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        gc: GcArgs,
    }

    fn policy(line: &[&str]) -> Option<GcPolicy> {
        Line::try_parse_from([&["gc"], line].concat()).ok()?.gc.policy()
    }

    #[test]
    fn what_is_not_asked_for_is_not_dropped() {
        assert_eq!(policy(&[]), None);
        assert_eq!(policy(&["--dry-run"]), None);
        let day = Duration::from_hours(24);
        let some =
            |keep_runs, older_than, max_size| Some(GcPolicy { keep_runs, older_than, max_size, ..GcPolicy::default() });
        assert_eq!(policy(&["--keep-runs", "3"]), some(3, None, None));
        assert_eq!(policy(&["--older-than", "1d"]), some(1, Some(day), None));
        assert_eq!(policy(&["--max-size", "1kB"]), some(1, Some(Duration::MAX), Some(1000)));
        assert_eq!(policy(&["--keep-runs", "3", "--max-size", "1kB"]), some(3, Some(Duration::MAX), Some(1000)));
    }
}
