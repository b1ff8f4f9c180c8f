use clap::Args;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use miette::miette;
use refit_cache::Store;
use strsim::jaro_winkler;

use super::{Row, condition::Condition, row::FACTS};
use crate::{commands::cache::age, failure::Failure};

/// Which runs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only runs with that parameter or score: `params.rank=8`, `train.rank<=16`, `after.rouge_l>0.3`; also `!=` and
    /// `~` (contains). A run without the value does not fit.
    #[arg(long = "where", value_name = "CONDITION", value_parser = Condition::parse)]
    conditions: Vec<Condition>,
    /// Only runs that ended so.
    #[arg(long, value_name = "STATUS", value_delimiter = ',',
          value_parser = ["ok", "failed", "interrupted", "running", "killed"])]
    status: Vec<String>,
    /// Only runs with that tag, or with all of several.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only runs that began no longer ago, or later: `2d`, `12h`, `2026-11-20`, `2026-11-20T08:00`.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// Only runs of the pipeline of that name.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

impl FilterArgs {
    /// Whether every run fits.
    pub(crate) fn is_open(&self) -> bool {
        let Self { conditions, status, tag, since, pipeline } = self;
        conditions.is_empty() && status.is_empty() && tag.is_empty() && since.is_none() && pipeline.is_none()
    }

    /// The runs that fit, newest first.
    ///
    /// # Errors
    /// A condition on something that no run has.
    pub(crate) fn rows<'s>(&self, store: &'s Store) -> Result<Vec<Row<'s>>, Failure> {
        let rows: Vec<Row<'_>> = Row::all(store)?.filter(|row| self.fits_facts(row)).collect();
        for condition in &self.conditions {
            expect_known(&rows, &condition.name)?;
        }
        Ok(rows.into_iter().filter(|row| self.conditions.iter().all(|condition| condition.fits(row))).collect())
    }

    fn fits_facts(&self, row: &Row<'_>) -> bool {
        self.pipeline.as_ref().is_none_or(|pipeline| row.summary.pipeline.as_ref() == Some(pipeline))
            && (self.status.is_empty() || self.status.iter().any(|status| status == row.status))
            && self.tag.iter().all(|tag| row.labels.tags.contains(tag))
            && self.since.is_none_or(|since| row.id().began() >= since)
    }
}

/// A name that no run has is a mistake, unless there are no runs at all.
pub(crate) fn expect_known(rows: &[Row<'_>], name: &str) -> Result<(), Failure> {
    if rows.is_empty() || FACTS.contains(&name) || rows.iter().any(|row| row.value(name).is_some()) {
        return Ok(());
    }
    let mut known: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.summary.scores.keys().chain(row.parameters().keys()))
        .map(String::as_str)
        .chain(FACTS)
        .collect();
    known.sort_unstable();
    known.dedup();
    let near = known
        .iter()
        .map(|known| (jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let help = match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => "`refit runs --all` shows every parameter and score by its name".to_owned(),
    };
    Err(Failure::usage(miette!(code = "runs::unknown_name", help = help, "no run has anything named `{name}`")))
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(age) = age(text) {
        return Timestamp::now().checked_sub(age).map_err(|_| "that is before all time".to_owned());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<DateTime>().ok().and_then(|time| TimeZone::system().to_timestamp(time).ok());
    local.ok_or_else(|| "it is an age such as `2d` or `12h`, or a day or time such as `2026-11-20`".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn when_is_an_age_or_a_day() {
        assert!(since("2d").unwrap() < since("1h").unwrap());
        assert_eq!(since("2026-11-20T08:00:00Z").unwrap(), "2026-11-20T08:00:00Z".parse::<Timestamp>().unwrap());
        assert!(since("2026-11-20").is_ok() && since("2026-11-20T08:00").is_ok());
        assert!(since("yesterday").is_err());
    }
}
