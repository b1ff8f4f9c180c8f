//! How numbers are written for people.

/// Decimals that fit a metric's scale: two where it goes to 100, three elsewhere.
pub(super) fn decimals(metric: &str) -> usize {
    if metric == "bleu" || metric.starts_with("bleu:") || metric.starts_with("rouge:lf") { 2 } else { 3 }
}

/// A value in its metric's scale.
pub(super) fn value(metric: &str, value: f64) -> String {
    format!("{value:.*}", decimals(metric))
}

/// A difference, always with its sign; what rounds to zero has none.
pub(super) fn signed(metric: &str, value: f64) -> String {
    let text = format!("{value:+.*}", decimals(metric));
    if text.chars().all(|c| matches!(c, '+' | '-' | '0' | '.')) {
        text[1..].to_owned()
    } else {
        text.replace('-', "−")
    }
}

/// A p-value.
pub(super) fn p(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") }
}

/// The same with its sign of equality, for a sentence.
pub(super) fn p_is(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}

/// A share as a percentage without decimals that say nothing.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(signed("bleu", -3.456), "−3.46");
        assert_eq!(signed("rouge_l", 0.1), "+0.100");
        assert_eq!(signed("rouge_l", -0.000_1), "0.000");
        assert_eq!((p(0.000_1), p_is(0.04)), ("< 0.001".into(), "p = 0.040".into()));
        assert_eq!((percent(0.95), percent(0.999)), ("95 %".into(), "99.9 %".into()));
    }
}
