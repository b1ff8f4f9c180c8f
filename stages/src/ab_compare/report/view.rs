//! All that the report shows, as text and positions: the templates only lay it out.

use refit_metrics::statistics::Verdict;
use serde::Serialize;

use super::{
    super::{
        compare::Compared,
        comparison::{Comparison, MetricComparison},
        number::{p, percent, signed, value},
        pairing::Pair,
    },
    plot::{Forest, Histogram, forests, histogram},
};

/// A longer text is cut in the report; `predictions.jsonl` has all of it.
const SHOWN_CHARS: usize = 2000;

/// What the templates are given.
#[derive(Serialize)]
pub(in super::super) struct View {
    headline: String,
    /// `a`, `b` or `none`.
    winner: &'static str,
    name_a: String,
    name_b: String,
    primary: String,
    primary_higher_is_better: bool,
    rows: usize,
    summary: Vec<String>,
    metrics: Vec<MetricView>,
    forests: Vec<Forest>,
    histogram: Histogram,
    gains: Vec<RowView>,
    losses: Vec<RowView>,
    confidence: String,
    resamples: u32,
    seed: u64,
    identical_outputs: usize,
    signatures: Vec<(String, String)>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct MetricView {
    name: String,
    primary: bool,
    higher_is_better: bool,
    a: String,
    b: String,
    difference: String,
    low: String,
    high: String,
    side: &'static str,
    wins: u64,
    ties: u64,
    losses: u64,
    /// Shares of the rows in percent: wins, ties, losses.
    win_share: f64,
    tie_share: f64,
    loss_share: f64,
    /// The rate and its interval.
    win_rate: Option<[String; 2]>,
    p_sign: String,
    p_difference: String,
    p_holm: String,
}

#[derive(Serialize)]
struct RowView {
    id: String,
    prompt: Shown,
    reference: Shown,
    a: Shown,
    b: Shown,
    score_a: String,
    score_b: String,
    change: String,
}

/// A text as far as it is shown.
#[derive(Serialize)]
struct Shown {
    text: String,
    /// Characters that are not shown.
    cut: usize,
}

impl Shown {
    fn new(text: &str) -> Self {
        let end = text.char_indices().nth(SHOWN_CHARS).map_or(text.len(), |(index, _)| index);
        Self { text: text[..end].to_owned(), cut: text[end..].chars().count() }
    }
}

pub(in super::super) fn view(compared: &Compared, pairs: &[Pair], top_rows: usize) -> View {
    let comparison = &compared.comparison;
    let primary = &comparison.metrics[comparison.primary.as_str()];
    let better = primary.higher_is_better;
    let (gains, losses) = changed_most(compared, better, top_rows);
    let rows = |indices: Vec<usize>| indices.into_iter().map(|index| row(compared, pairs, index)).collect();
    View {
        headline: match comparison.verdict {
            Verdict::ABetter => format!("{} is better", comparison.name_a),
            Verdict::BBetter => format!("{} is better", comparison.name_b),
            Verdict::Equivalent => "Equivalent".into(),
            Verdict::Inconclusive => "Inconclusive".into(),
        },
        winner: match comparison.verdict {
            Verdict::ABetter => "a",
            Verdict::BBetter => "b",
            Verdict::Equivalent | Verdict::Inconclusive => "none",
        },
        name_a: comparison.name_a.clone(),
        name_b: comparison.name_b.clone(),
        primary: comparison.primary.clone(),
        primary_higher_is_better: better,
        rows: comparison.rows,
        summary: comparison.summary.clone(),
        metrics: comparison.metrics.iter().map(|(name, metric)| metric_view(comparison, name, metric)).collect(),
        forests: forests(&comparison.metrics),
        histogram: histogram(&comparison.primary, &compared.primary_rows, better),
        gains: rows(gains),
        losses: rows(losses),
        confidence: percent(comparison.confidence),
        resamples: comparison.resamples,
        seed: comparison.seed,
        identical_outputs: comparison.identical_outputs,
        signatures: comparison.signatures.iter().map(|(name, text)| (name.clone(), text.clone())).collect(),
        notes: comparison.notes.clone(),
    }
}

fn metric_view(comparison: &Comparison, name: &str, metric: &MetricComparison) -> MetricView {
    let share = |count: u64| (count as f64 / comparison.rows as f64 * 10_000.0).round() / 100.0;
    let excludes_zero = metric.low > 0.0 || metric.high < 0.0;
    MetricView {
        name: name.to_owned(),
        primary: name == comparison.primary,
        higher_is_better: metric.higher_is_better,
        a: value(name, metric.a),
        b: value(name, metric.b),
        difference: signed(name, metric.difference),
        low: signed(name, metric.low),
        high: signed(name, metric.high),
        side: match (excludes_zero, (metric.difference > 0.0) == metric.higher_is_better) {
            (false, _) => "none",
            (true, true) => "b",
            (true, false) => "a",
        },
        wins: metric.wins,
        ties: metric.ties,
        losses: metric.losses,
        win_share: share(metric.wins),
        tie_share: share(metric.ties),
        loss_share: share(metric.losses),
        win_rate: metric
            .win_rate
            .map(|[rate, low, high]| [percent(rate), format!("{} to {}", percent(low), percent(high))]),
        p_sign: p(metric.p),
        p_difference: p(metric.p_difference),
        p_holm: p(metric.p_holm),
    }
}

/// The rows that gained most and those that lost most, as indices; rows without a difference are in neither.
fn changed_most(compared: &Compared, higher_is_better: bool, top_rows: usize) -> (Vec<usize>, Vec<usize>) {
    let gain = |&index: &usize| {
        let (a, b) = compared.primary_rows[index];
        if higher_is_better { b - a } else { a - b }
    };
    let mut order: Vec<usize> = (0..compared.primary_rows.len()).collect();
    // Stable: rows that changed alike stay in the order of the data.
    order.sort_by(|x, y| gain(y).total_cmp(&gain(x)));
    let gains = order.iter().copied().filter(|index| gain(index) > 0.0).take(top_rows).collect();
    order.sort_by(|x, y| gain(x).total_cmp(&gain(y)));
    let losses = order.into_iter().filter(|index| gain(index) < 0.0).take(top_rows).collect();
    (gains, losses)
}

fn row(compared: &Compared, pairs: &[Pair], index: usize) -> RowView {
    let Pair { a, b } = &pairs[index];
    let (score_a, score_b) = compared.primary_rows[index];
    let primary = compared.comparison.primary.as_str();
    RowView {
        id: a.id.clone(),
        prompt: Shown::new(if a.prompt.trim().is_empty() { &b.prompt } else { &a.prompt }),
        reference: Shown::new(&a.reference),
        a: Shown::new(&a.prediction),
        b: Shown::new(&b.prediction),
        score_a: value(primary, score_a),
        score_b: value(primary, score_b),
        change: signed(primary, score_b - score_a),
    }
}
