//! The metrics of answered rows, and the artifacts.

use std::{collections::BTreeMap, path::Path};

use refit_engine::stage::{StageError, StepContext};
use refit_metrics::{Language, score_rows};
use serde::Serialize;

use super::answer::Answered;
use crate::predictions::PredictionWriter;

const METRICS_FILE: &str = "metrics.json";
const SIGNATURES_FILE: &str = "signatures.json";

/// Scores the rows and writes both outputs.
pub(super) fn score(answered: Answered, language: Language, step: &StepContext) -> Result<(), StageError> {
    let pairs: Vec<(&str, &str)> =
        answered.rows.iter().map(|row| (row.prediction.as_str(), row.reference.as_str())).collect();
    let scores = score_rows(&pairs, language);
    let (mut metrics, mut signatures) = (scores.corpus, scores.signatures);
    metrics.insert("rows".into(), pairs.len() as f64);
    if let Some(tokens) = answered.tokens {
        for (name, value, signature) in [
            ("loss", tokens.loss, "mean of −ln p over all supervised tokens, the end-of-turn token included"),
            ("perplexity", tokens.loss.exp(), "e to the loss"),
            ("token_accuracy", tokens.accuracy, "share of supervised tokens that were the most likely one"),
            ("supervised_tokens", tokens.supervised as f64, "tokens of the right answers, end of turn included"),
        ] {
            metrics.insert(name.into(), value);
            signatures.insert(name.into(), signature.into());
        }
    }
    let folder = step.output_folder("metrics")?;
    write(&folder.join(METRICS_FILE), &metrics)?;
    write(&folder.join(SIGNATURES_FILE), &signatures)?;

    let mut out = PredictionWriter::create(&step.output_folder("predictions")?)?;
    for (mut row, scores) in answered.rows.into_iter().zip(scores.rows) {
        row.scores = scores;
        out.write(&row)?;
    }
    out.finish()
}

fn write<T: Serialize>(path: &Path, values: &BTreeMap<String, T>) -> Result<(), StageError> {
    let mut text = serde_json::to_string_pretty(values).map_err(std::io::Error::from)?;
    text.push('\n');
    fs_err::write(path, text)?;
    Ok(())
}
