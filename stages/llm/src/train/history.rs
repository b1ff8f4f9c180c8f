use std::{
    io::{BufWriter, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::PreferenceMetrics;
use crate::LlmError;

/// The file of a history artifact that holds its rows.
pub const HISTORY_FILE: &str = "history.jsonl";

/// One optimizer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// From 1.
    pub step: u64,
    /// Passes over the rows so far, with fractions.
    pub epoch: f64,
    /// Mean over the step's targets, natural logarithm; of a training on preferences, over its pairs or answers.
    pub loss: f64,
    /// The same over the validation rows, after the step, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Real tokens of the rows so far; padding and sharing not counted.
    pub tokens: u64,
    /// Since the first step began.
    pub seconds: f64,
    /// What a training on preferences is watched by.
    #[serde(flatten)]
    pub preference: PreferenceMetrics,
}

/// Rounds to twelve significant digits: short to read, and a value that survives being written as text and read again,
/// which a resumed training relies on.
pub(crate) fn twelve_digits(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// Writes `history.jsonl` into an existing folder.
pub fn write_history(rows: &[HistoryRow], folder: &Path) -> Result<(), LlmError> {
    let mut out = BufWriter::new(fs_err::File::create(folder.join(HISTORY_FILE))?);
    for row in rows {
        serde_json::to_writer(&mut out, row).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
