//! Pairs become a comparison: every metric scored on both sides in the same way, tested, and summed up.

use indexmap::IndexMap;
use refit_engine::stage::{Progress, StageError, StepContext};
use refit_metrics::{
    BleuStats, BleuTokenizer, Language, METRICS, Metric, Scores, metric, score_rows,
    statistics::{PairedComparison, Sampling, holm, smallest_mean_difference, smallest_win_rate, wilson},
};

use super::{
    comparison::{Comparison, MetricComparison},
    pairing::Pair,
    params::AbCompareParams,
    summary::summary,
};

/// The probability with which the smallest effect is found.
pub(super) const POWER: f64 = 0.8;

/// A comparison, and what the report shows of single rows.
pub(super) struct Compared {
    pub(super) comparison: Comparison,
    /// The primary metric's values of A and B, row by row.
    pub(super) primary_rows: Vec<(f64, f64)>,
}

/// Values of one metric on both sides.
struct Series {
    higher_is_better: bool,
    rows: Vec<(f64, f64)>,
    /// For metrics whose corpus value is no mean of rows.
    bleu: Option<BleuTokenizer>,
    signature: String,
}

/// Compares on every metric. `notes` are what the reader of the rows had to say.
pub(super) fn compare(
    pairs: &[Pair],
    params: &AbCompareParams,
    mut notes: Vec<String>,
    step: &StepContext,
) -> Result<Compared, StageError> {
    let measure = Measure::new(pairs, params.language);
    let names = metric_names(params, pairs, &mut notes);
    let mut metrics = IndexMap::new();
    let mut signatures = IndexMap::new();
    let mut tests = Vec::new();
    let mut primary_rows = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let series = measure.series(name)?;
        if metric(name).is_none() {
            let better = if series.higher_is_better { "more" } else { "less" };
            notes.push(format!("`{name}` is taken from the rows' own scores; {better} is taken to be better"));
        }
        let (made, test) = compare_metric(pairs, &series, params);
        metrics.insert(name.clone(), made);
        signatures.insert(name.clone(), series.signature);
        tests.push(test);
        if index == 0 {
            primary_rows = series.rows;
        }
        step.progress(Progress {
            done: index as u64 + 1,
            total: names.len() as u64,
            unit: "metrics".into(),
            ..Progress::default()
        });
    }
    correct_for_many(&mut metrics);
    let verdict = tests[0].verdict(params.margin);
    let mut comparison = Comparison {
        verdict,
        summary: Vec::new(),
        primary: params.primary.clone(),
        rows: pairs.len(),
        identical_outputs: pairs.iter().filter(|pair| pair.a.prediction == pair.b.prediction).count(),
        name_a: params.name_a.clone(),
        name_b: params.name_b.clone(),
        metrics,
        confidence: params.confidence,
        resamples: params.resamples,
        seed: params.seed,
        margin: params.margin,
        language: params.language,
        signatures,
        notes,
    };
    comparison.summary = summary(&comparison, &tests[0]);
    Ok(Compared { comparison, primary_rows })
}

/// The primary metric first, each name once.
fn metric_names(params: &AbCompareParams, pairs: &[Pair], notes: &mut Vec<String>) -> Vec<String> {
    let mut names = vec![params.primary.clone()];
    if params.metrics.is_empty() {
        names.extend(METRICS.iter().filter(|m| !m.name.contains(':') && m.name != "loss").map(|m| m.name.to_owned()));
        if has_loss(pairs) {
            names.push("loss".into());
        } else {
            notes.push("`loss` is left out: not every row of both sides has one".into());
        }
    } else {
        names.extend(params.metrics.iter().cloned());
    }
    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

fn has_loss(pairs: &[Pair]) -> bool {
    pairs.iter().all(|pair| pair.a.loss.is_some() && pair.b.loss.is_some())
}

/// Text metrics are always computed here, never taken from the rows, so that both sides are measured alike.
struct Measure<'a> {
    pairs: &'a [Pair],
    language: Language,
    a: Scores,
    b: Scores,
}

impl<'a> Measure<'a> {
    fn new(pairs: &'a [Pair], language: Language) -> Self {
        let (a, b) = score(pairs, language);
        Self { pairs, language, a, b }
    }

    fn series(&self, name: &str) -> Result<Series, StageError> {
        if name == "loss" {
            return self.loss();
        }
        match metric(name) {
            Some(known) if self.a.corpus.contains_key(name) => Ok(self.text(known, &self.a, &self.b)),
            // A full name of the other language's variants.
            Some(known) => {
                let other = [Language::English, Language::Chinese]
                    .map(|language| score(self.pairs, language))
                    .into_iter()
                    .find(|(a, _)| a.corpus.contains_key(name));
                let (a, b) = other.expect("invariant: every metric belongs to a language");
                Ok(self.text(known, &a, &b))
            }
            None => self.own(name),
        }
    }

    fn text(&self, known: &Metric, a: &Scores, b: &Scores) -> Series {
        let bleu = known.summed.then(|| match known.name {
            "bleu:sacrebleu-13a" => BleuTokenizer::V13a,
            "bleu:sacrebleu-zh" => BleuTokenizer::Zh,
            _ => self.language.family(self.pairs.iter().map(|pair| pair.a.reference.as_str())).bleu_tokenizer(),
        });
        Series {
            higher_is_better: known.higher_is_better,
            rows: a.rows.iter().zip(&b.rows).map(|(a, b)| (a[known.name], b[known.name])).collect(),
            bleu,
            signature: a.signatures[known.name].clone(),
        }
    }

    fn loss(&self) -> Result<Series, StageError> {
        let rows = self.pairs.iter().filter_map(|pair| pair.a.loss.zip(pair.b.loss)).collect::<Vec<_>>();
        if rows.len() < self.pairs.len() {
            return Err(StageError::new(
                "ab_compare::no_loss",
                "`loss` is asked for, but not every row of both sides has one",
            )
            .help("an `evaluate` stage writes it; predictions of another tool may lack it"));
        }
        Ok(Series { higher_is_better: false, rows, bleu: None, signature: "taken from the rows|rows:mean".into() })
    }

    /// A score that the rows bring with them.
    fn own(&self, name: &str) -> Result<Series, StageError> {
        let rows: Vec<(f64, f64)> = self
            .pairs
            .iter()
            .filter_map(|pair| pair.a.scores.get(name).copied().zip(pair.b.scores.get(name).copied()))
            .collect();
        if rows.len() == self.pairs.len() {
            let lower = ["loss", "perplexity", "ppl", "nll", "error"].iter().any(|word| name.contains(word));
            let signature = "taken from the rows' scores|rows:mean".into();
            return Ok(Series { higher_is_better: !lower, rows, bleu: None, signature });
        }
        let message = if rows.is_empty() {
            format!("there is no metric `{name}`, and no row has a score of that name on both sides")
        } else {
            format!("only {} of {} rows have a score `{name}` on both sides", rows.len(), self.pairs.len())
        };
        let lower = name.to_lowercase();
        let likeness = |known: &str| strsim::jaro_winkler(known, &lower);
        let nearest = METRICS
            .iter()
            .map(|m| m.name)
            .chain(self.pairs[0].a.scores.keys().map(String::as_str))
            .filter(|known| *known != name)
            .max_by(|x, y| likeness(x).total_cmp(&likeness(y)));
        let mut error = StageError::new("ab_compare::unknown_metric", message);
        if let Some(nearest) = nearest.filter(|known| likeness(known) > 0.8) {
            error = error.help(format!("did you mean `{nearest}`?"));
        } else {
            let known: Vec<&str> = METRICS.iter().map(|m| m.name).collect();
            error = error.help(format!("the metrics are {}", known.join(", ")));
        }
        Err(error)
    }
}

fn score(pairs: &[Pair], language: Language) -> (Scores, Scores) {
    // The reference of A for both, so that a stray space in one file cannot tell the sides apart.
    let side = |prediction: fn(&Pair) -> &str| {
        let rows: Vec<_> = pairs.iter().map(|pair| (prediction(pair), pair.a.reference.as_str())).collect();
        score_rows(&rows, language)
    };
    (side(|pair| &pair.a.prediction), side(|pair| &pair.b.prediction))
}

fn compare_metric(pairs: &[Pair], series: &Series, params: &AbCompareParams) -> (MetricComparison, PairedComparison) {
    let sampling = Sampling { confidence: params.confidence, resamples: params.resamples, seed: params.seed };
    let (a_rows, b_rows): (Vec<f64>, Vec<f64>) = series.rows.iter().copied().unzip();
    let (a, b, test, smallest_difference) = if let Some(tokenizer) = series.bleu {
        let stats = |prediction: fn(&Pair) -> &str| -> Vec<BleuStats> {
            pairs.iter().map(|pair| BleuStats::of(tokenizer, prediction(pair), &pair.a.reference)).collect()
        };
        let (a, b) = (stats(|pair| &pair.a.prediction), stats(|pair| &pair.b.prediction));
        let corpus = |rows: &[BleuStats]| rows.iter().copied().sum::<BleuStats>().score();
        (corpus(&a), corpus(&b), PairedComparison::of_bleu(&a, &b, sampling), None)
    } else {
        let mean = |rows: &[f64]| rows.iter().sum::<f64>() / rows.len() as f64;
        let test = PairedComparison::of_means(&a_rows, &b_rows, series.higher_is_better, sampling);
        let differences: Vec<f64> = series.rows.iter().map(|(a, b)| b - a).collect();
        let smallest = smallest_mean_difference(&differences, params.confidence, POWER);
        (mean(&a_rows), mean(&b_rows), test, Some(smallest))
    };
    let decided = test.sign.wins + test.sign.losses;
    let made = MetricComparison {
        a,
        b,
        difference: test.difference,
        low: test.interval.low,
        high: test.interval.high,
        p: test.sign.p,
        wins: test.sign.wins,
        ties: test.sign.ties,
        losses: test.sign.losses,
        p_difference: test.p,
        p_holm: test.p,
        win_rate: (decided > 0).then(|| {
            let interval = wilson(test.sign.wins, decided, params.confidence);
            [test.sign.wins as f64 / decided as f64, interval.low, interval.high]
        }),
        smallest_difference,
        smallest_win_rate: smallest_win_rate(decided, params.confidence, POWER),
        higher_is_better: series.higher_is_better,
    };
    (made, test)
}

/// Holm's correction over all metrics but the first, which was chosen beforehand.
fn correct_for_many(metrics: &mut IndexMap<String, MetricComparison>) {
    let p: Vec<f64> = metrics.values().skip(1).map(|m| m.p_difference).collect();
    for (metric, p) in metrics.values_mut().skip(1).zip(holm(&p)) {
        metric.p_holm = p;
    }
}
