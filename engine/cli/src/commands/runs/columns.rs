use std::collections::BTreeMap;

use indexmap::IndexSet;
use refit_metrics::METRICS;
use serde_json::Value;

use super::{Row, condition::plain};
use crate::ui::{duration, local_time, score};

/// One column of a list of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column(pub(super) String);

/// What is shown of each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breadth<'a> {
    /// What tells these runs apart.
    Differing,
    /// Everything.
    All,
    /// These, and the run; `*` at the end stands for anything.
    Named(&'a [String]),
}

/// Of a stage's metrics, people are shown these unless they ask for all, in this order.
const MAIN: [&str; 5] = ["rouge_l", "bleu", "exact_match", "loss", "verdict"];

impl Column {
    /// The columns for these runs, the most telling first.
    pub(super) fn choose(rows: &[Row<'_>], breadth: Breadth<'_>) -> Vec<Self> {
        let named = match breadth {
            Breadth::Named(patterns) => return Self::named(rows, patterns),
            Breadth::All => false,
            Breadth::Differing => true,
        };
        let mut names: Vec<String> = vec!["run".into()];
        let any = |name: &str| rows.iter().any(|row| row.value(name).is_some());
        names.extend(["name", "tags"].into_iter().filter(|name| any(name)).map(String::from));
        names.push("began".into());
        if !named || differ(rows.iter().map(|row| &row.summary.pipeline)) {
            names.push("pipeline".into());
        }
        names.extend(["status", "stages", "seconds"].map(String::from));
        names.extend(scores(rows, named));
        names.extend(parameters(&rows.iter().collect::<Vec<_>>(), named));
        names.into_iter().map(Self).collect()
    }

    fn named(rows: &[Row<'_>], patterns: &[String]) -> Vec<Self> {
        let known: Vec<String> =
            scores(rows, false).into_iter().chain(parameters(&rows.iter().collect::<Vec<_>>(), false)).collect();
        let mut names = vec!["run".to_owned()];
        for pattern in patterns {
            let fitting = match pattern.strip_suffix('*') {
                Some(start) => known.iter().filter(|name| name.starts_with(start)).cloned().collect(),
                None => vec![pattern.clone()],
            };
            for name in fitting {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.into_iter().map(Self).collect()
    }

    /// What stands above it.
    pub(super) fn title(&self) -> &str {
        match self.0.as_str() {
            "began" => "when",
            "seconds" => "time",
            name => name,
        }
    }

    /// A cell for people: rounded, in words.
    pub(super) fn cell(&self, row: &Row<'_>) -> String {
        let Some(value) = row.value(&self.0) else { return String::new() };
        match (self.0.as_str(), value.as_f64()) {
            ("began", _) => local_time(row.id().began()),
            ("seconds", Some(seconds)) => duration(seconds),
            (name, Some(number)) if row.summary.scores.contains_key(name) => score(number),
            _ => plain(&value),
        }
    }

    /// A cell for other programs: as it is.
    pub(super) fn exact(&self, row: &Row<'_>) -> String {
        row.value(&self.0).as_ref().map(plain).unwrap_or_default()
    }
}

/// The scores' names: the main metrics of all stages first, of later stages before earlier ones, for the last is what
/// the pipeline is for.
fn scores(rows: &[Row<'_>], differing: bool) -> Vec<String> {
    let names: IndexSet<&String> = rows.iter().flat_map(|row| row.summary.scores.keys().rev()).collect();
    // What a command scores it scores on purpose.
    let is_main = |name: &str| MAIN.contains(&metric(name)) || !is_known(metric(name));
    let apart = |name: &str| differ(rows.iter().filter_map(|row| row.summary.scores.get(name)));
    let main = |name: &&String| !differing || is_main(name);
    let mut shown: Vec<&String> = names.iter().copied().filter(main).filter(|name| !differing || apart(name)).collect();
    if shown.is_empty() {
        // One run, or all alike: their main metrics all the same.
        shown = names.into_iter().filter(main).collect();
    }
    shown.sort_by_key(|name| importance(metric(name)));
    shown.into_iter().cloned().collect()
}

/// The parameters' names. What a pipeline's `params` decide is not shown again for each stage that uses it, nor a value
/// that several stages share under one name.
fn parameters(rows: &[&Row<'_>], differing: bool) -> Vec<String> {
    let mut values: BTreeMap<&str, Vec<Option<&Value>>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        for (name, value) in row.parameters() {
            values.entry(name).or_insert_with(|| vec![None; rows.len()])[place] = Some(value);
        }
    }
    let of_pipeline = |name: &str| name.starts_with("params.");
    let (above, below): (Vec<_>, Vec<_>) = values.iter().partition(|(name, _)| of_pipeline(name));
    let apart = |values: &[Option<&Value>]| differ(values.iter().flatten());
    let above = above.into_iter().filter(|(_, values)| !differing || apart(values));
    let mut shown: Vec<(&str, &Vec<Option<&Value>>)> = above.map(|(name, values)| (*name, values)).collect();
    for (name, values) in below.into_iter().filter(|(_, values)| !differing || apart(values)) {
        let told = |other: &str| of_pipeline(other) || metric(other) == metric(name);
        if !differing || !shown.iter().any(|(other, same)| *same == values && told(other)) {
            shown.push((name, values));
        }
    }
    shown.into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// The names of the parameters that tell a run from the others of its pipeline, with all of `params`.
pub(crate) fn telling_parameters(row: &Row<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let siblings: Vec<&Row<'_>> = rows.iter().filter(|other| other.summary.pipeline == row.summary.pipeline).collect();
    let mut names: Vec<String> = row.parameters().keys().filter(|name| name.starts_with("params.")).cloned().collect();
    names.extend(parameters(&siblings, true).into_iter().filter(|name| !name.starts_with("params.")));
    names
}

/// Whether not all are alike.
fn differ<T: PartialEq>(mut values: impl Iterator<Item = T>) -> bool {
    values.next().is_some_and(|first| values.any(|other| other != first))
}

/// `rouge_l` of `after.rouge_l`.
fn metric(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, metric)| metric)
}

/// Whether it is one of the metrics and counts that `evaluate` writes.
fn is_known(metric: &str) -> bool {
    const COUNTS: [&str; 4] = ["rows", "perplexity", "token_accuracy", "supervised_tokens"];
    // Variants have the full names of their metrics.
    metric.contains(':') || COUNTS.contains(&metric) || METRICS.iter().any(|known| known.name == metric)
}

/// Less is more important: the main metrics, then the others in the order of the manual, then unknown ones.
pub(crate) fn importance(metric: &str) -> usize {
    let known = || METRICS.iter().position(|known| known.name == metric).unwrap_or(METRICS.len());
    MAIN.iter().position(|main| *main == metric).unwrap_or_else(|| MAIN.len() + known())
}
