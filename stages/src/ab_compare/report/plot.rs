//! The geometry of the plots. Positions are percentages of the plot's width and height, so that a plot fits any screen.

use indexmap::IndexMap;
use serde::Serialize;

use super::super::{comparison::MetricComparison, number::signed};

/// Differences with their intervals, grouped by what can share an axis.
#[derive(Serialize)]
pub(super) struct Forest {
    unit: String,
    ticks: Vec<Tick>,
    rows: Vec<ForestRow>,
}

#[derive(Serialize)]
struct Tick {
    x: f64,
    label: String,
}

#[derive(Serialize)]
struct ForestRow {
    name: String,
    /// `a`, `b`, or `none` while the interval includes zero.
    side: &'static str,
    low: f64,
    width: f64,
    x: f64,
    label: String,
}

/// The bars of the distribution of per-row differences.
#[derive(Serialize)]
pub(super) struct Histogram {
    bars: Vec<Bar>,
    limit: String,
}

#[derive(Serialize)]
struct Bar {
    side: &'static str,
    x: f64,
    width: f64,
    height: f64,
    count: u64,
    range: String,
}

/// Room at both ends of an axis, in percent of its width.
const EDGE: f64 = 4.0;

/// Bars on either side of zero.
const BARS: usize = 10;

/// Where a value lies on an axis from `-limit` to `limit`.
fn position(value: f64, limit: f64) -> f64 {
    rounded(50.0 + value / limit * (50.0 - EDGE))
}

/// Two decimals are finer than a pixel and keep the page small and steady.
fn rounded(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn nice_limit(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|&limit| limit >= value * 0.999_999)
        .unwrap_or(value)
}

/// A number without needless zeros.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text metrics share an axis in points of 100; a loss or a score of unknown range has its own. Right is better for B.
pub(super) fn forests(metrics: &IndexMap<String, MetricComparison>) -> Vec<Forest> {
    let mut groups: IndexMap<String, Vec<(&String, &MetricComparison, f64)>> = IndexMap::new();
    for (name, metric) in metrics {
        let (unit, factor) = match refit_metrics::metric(name) {
            Some(known) if known.name != "loss" => {
                ("points of 100".to_owned(), if super::super::number::decimals(name) == 2 { 1.0 } else { 100.0 })
            }
            _ => (name.clone(), 1.0),
        };
        groups.entry(unit).or_default().push((name, metric, factor));
    }
    groups
        .into_iter()
        .map(|(unit, members)| {
            let reach =
                |m: &MetricComparison, factor: f64| m.low.abs().max(m.high.abs()).max(m.difference.abs()) * factor;
            let limit = nice_limit(members.iter().map(|(_, m, factor)| reach(m, *factor)).fold(0.0, f64::max));
            let ticks = [-1.0, -0.5, 0.0, 0.5, 1.0]
                .map(|share| Tick { x: position(share * limit, limit), label: plain(f64::abs(share * limit)) })
                .into();
            let rows = members.iter().map(|(name, metric, factor)| forest_row(name, metric, *factor, limit)).collect();
            Forest { unit, ticks, rows }
        })
        .collect()
}

fn forest_row(name: &str, metric: &MetricComparison, factor: f64, limit: f64) -> ForestRow {
    let factor = if metric.higher_is_better { factor } else { -factor };
    let (low, high) = if metric.higher_is_better { (metric.low, metric.high) } else { (metric.high, metric.low) };
    let (low, high) = (position(low * factor, limit), position(high * factor, limit));
    ForestRow {
        name: name.to_owned(),
        side: side(if low > 50.0 || high < 50.0 { metric.difference * factor } else { 0.0 }),
        low,
        width: rounded(high - low),
        x: position(metric.difference * factor, limit),
        label: signed(name, metric.difference),
    }
}

fn side(better_for_b: f64) -> &'static str {
    if better_for_b > 0.0 {
        "b"
    } else if better_for_b < 0.0 {
        "a"
    } else {
        "none"
    }
}

/// Ten bars for rows that got worse, one for rows without a difference, ten for rows that got better.
pub(super) fn histogram(metric: &str, rows: &[(f64, f64)], higher_is_better: bool) -> Histogram {
    let gains: Vec<f64> = rows.iter().map(|(a, b)| if higher_is_better { b - a } else { a - b }).collect();
    let limit = nice_limit(gains.iter().fold(0.0_f64, |most, gain| most.max(gain.abs())));
    let mut counts = [0_u64; 2 * BARS + 1];
    for gain in gains {
        // The last bar includes its end.
        let step = ((gain.abs() / limit * BARS as f64) as usize).min(BARS - 1) + 1;
        counts[if gain > 0.0 {
            BARS + step
        } else if gain < 0.0 {
            BARS - step
        } else {
            BARS
        }] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = 100.0 / counts.len() as f64;
    let bars = counts
        .iter()
        .enumerate()
        .map(|(i, &count)| {
            let from_zero = i as f64 - BARS as f64;
            let end = |steps: f64| signed(metric, steps * limit / BARS as f64);
            Bar {
                side: side(from_zero),
                x: rounded(i as f64 * width + width * 0.08),
                width: rounded(width * 0.84),
                height: rounded(count as f64 / most * 84.0),
                count,
                range: if i == BARS {
                    "no difference".into()
                } else {
                    format!("{} to {}", end(from_zero - from_zero.signum()), end(from_zero))
                },
            }
        })
        .collect();
    Histogram { bars, limit: plain(limit) }
}
