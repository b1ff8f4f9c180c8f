//! The verdict in sentences: what was found, how sure it is, and what these rows could not have seen.

use refit_metrics::statistics::{PairedComparison, Verdict};

use super::{
    compare::POWER,
    comparison::Comparison,
    number::{p_is, percent, signed, value},
};

/// Below this many rows the report warns.
const FEW_ROWS: usize = 30;

pub(super) fn summary(comparison: &Comparison, test: &PairedComparison) -> Vec<String> {
    let mut sentences = vec![found(comparison), counted(comparison)];
    sentences.extend(why(comparison, test));
    sentences.push(visible(comparison));
    if comparison.rows < FEW_ROWS {
        sentences.push(format!(
            "Only {} to judge by: a few other questions could turn the result.",
            rows(comparison.rows as u64)
        ));
    }
    sentences
}

fn found(comparison: &Comparison) -> String {
    let name = comparison.primary.as_str();
    let metric = &comparison.metrics[name];
    format!(
        "{name} goes from {} ({}) to {} ({}), a difference of {}; {} interval {} to {}; {}.",
        value(name, metric.a),
        comparison.name_a,
        value(name, metric.b),
        comparison.name_b,
        signed(name, metric.difference),
        percent(comparison.confidence),
        signed(name, metric.low),
        signed(name, metric.high),
        p_is(metric.p_difference),
    )
}

fn counted(comparison: &Comparison) -> String {
    let metric = &comparison.metrics[comparison.primary.as_str()];
    format!(
        "{} is better on {} of {}, {} on {}, and {} tie; exact sign test {}.",
        comparison.name_b,
        metric.wins,
        rows(comparison.rows as u64),
        comparison.name_a,
        metric.losses,
        metric.ties,
        p_is(metric.p)
    )
}

/// Why the verdict is no winner, where it is none.
fn why(comparison: &Comparison, test: &PairedComparison) -> Vec<String> {
    match comparison.verdict {
        Verdict::ABetter | Verdict::BBetter => Vec::new(),
        Verdict::Equivalent => vec![format!(
            "The whole interval lies within the margin of ±{}, so the difference is too small to matter.",
            comparison.margin.unwrap_or_default()
        )],
        Verdict::Inconclusive => {
            let mut reasons = Vec::new();
            if !test.interval.excludes_zero() {
                reasons.push("the interval includes zero");
            } else if test.p > test.alpha() {
                reasons.push("the permutation test finds such a difference by chance too often");
            }
            if test.sign_contradicts() {
                reasons.push("more rows went the other way than the mean did");
            }
            vec![format!(
                "That is inconclusive: {}. Inconclusive does not mean equal: these rows cannot tell.",
                reasons.join(", and ")
            )]
        }
    }
}

/// The smallest effect these rows can see.
fn visible(comparison: &Comparison) -> String {
    let name = comparison.primary.as_str();
    let metric = &comparison.metrics[name];
    let decided = metric.wins + metric.losses;
    let mut parts = Vec::new();
    if let Some(smallest) = metric.smallest_difference.filter(|&smallest| smallest > 0.0) {
        parts.push(format!("a difference of {}", value(name, smallest)));
    }
    match metric.smallest_win_rate {
        Some(rate) => parts.push(format!("a win rate of {} over {} without ties", percent(rate), rows(decided))),
        None => parts.push(format!("no win rate at all: {} without ties are too few", rows(decided))),
    }
    format!(
        "With a probability of {}, {} spread like these show {}; smaller effects may stay unseen.",
        percent(POWER),
        rows(comparison.rows as u64),
        parts.join(", and ")
    )
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".into() } else { format!("{count} rows") }
}
