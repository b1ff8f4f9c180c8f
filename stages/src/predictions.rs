//! The one row shape of predictions: what a model was asked, what it should have said, and what it said.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
};

use fs_err::File;
use refit_engine::stage::{StageError, file_in};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file that holds the rows in a predictions artifact.
pub const PREDICTIONS_FILE: &str = "predictions.jsonl";

/// One answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The record's id; two sets of predictions are matched by it.
    pub id: String,
    /// What the model was asked, as a person would read it.
    pub prompt: String,
    /// What it should have said.
    pub reference: String,
    /// What it said.
    pub prediction: String,
    /// Mean over the supervised tokens of the reference, natural logarithm; lower is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Per-row metrics, by metric name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// A row as other tools may have written it: extra fields are passed over, and LLaMA-Factory's
/// names (`predict`, `label`) stand for ours.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    prompt: String,
    #[serde(alias = "label")]
    reference: String,
    #[serde(alias = "predict")]
    prediction: String,
    #[serde(default)]
    loss: Option<f64>,
    #[serde(default)]
    scores: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

/// Reads predictions one at a time.
///
/// Rows without an `id` are named by their place (`row-1`, `row-2`, …) and counted, so are scores that are no
/// numbers: the stage that reads says so.
pub struct PredictionReader {
    path: PathBuf,
    lines: BufReader<File>,
    buffer: Vec<u8>,
    line: u64,
    rows: u64,
    without_id: u64,
    ignored_scores: u64,
}

impl PredictionReader {
    /// Opens a predictions artifact: its folder, or one JSONL file by itself.
    pub fn open(input: &Path) -> Result<Self, StageError> {
        let path = file_in(input, PREDICTIONS_FILE);
        let file = File::open(&path).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                StageError::new("predictions::missing", format!("there is no `{PREDICTIONS_FILE}`"))
                    .at(&path)
                    .help("give the folder an `evaluate` stage wrote, or one JSONL file of predictions")
            } else {
                StageError::from(error)
            }
        })?;
        let lines = BufReader::with_capacity(1 << 16, file);
        Ok(Self { path, lines, buffer: Vec::new(), line: 0, rows: 0, without_id: 0, ignored_scores: 0 })
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line (from 1) of the row returned last.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How many rows so far had no `id` and were named by their place.
    pub fn without_id(&self) -> u64 {
        self.without_id
    }

    /// How many values in `scores` so far were no finite numbers and were left out.
    pub fn ignored_scores(&self) -> u64 {
        self.ignored_scores
    }

    fn parse(&mut self) -> Result<Prediction, StageError> {
        let row: Row = serde_json::from_slice(&self.buffer).map_err(|error| {
            // serde counts lines within this one line.
            let error = error.to_string().replace(" at line 1 column ", " at column ");
            StageError::new("predictions::malformed", format!("this line is not a prediction: {error}"))
                .at_line(&self.path, self.line)
                .help("each line is one JSON object with `id`, `prompt`, `reference` and `prediction` (UTF-8)")
        })?;
        let id = match row.id {
            Some(Id::Text(id)) => id,
            Some(Id::Number(id)) => id.to_string(),
            None => {
                self.without_id += 1;
                format!("row-{}", self.rows)
            }
        };
        let mut scores = BTreeMap::new();
        for (name, value) in row.scores.unwrap_or_default() {
            match value.as_f64().filter(|score| score.is_finite()) {
                Some(score) => {
                    scores.insert(name, score);
                }
                None => self.ignored_scores += 1,
            }
        }
        Ok(Prediction {
            id,
            prompt: row.prompt,
            reference: row.reference,
            prediction: row.prediction,
            loss: row.loss,
            scores,
        })
    }
}

impl Iterator for PredictionReader {
    type Item = Result<Prediction, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.buffer.clear();
            self.line += 1;
            match self.lines.read_until(b'\n', &mut self.buffer) {
                Err(error) => return Some(Err(StageError::from(error).at_line(&self.path, self.line))),
                Ok(0) => return None,
                Ok(_) => {}
            }
            // Some editors put a byte order mark in front.
            if self.line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            if !self.buffer.trim_ascii().is_empty() {
                self.rows += 1;
                return Some(self.parse());
            }
        }
    }
}

/// Writes the rows of a predictions artifact.
pub struct PredictionWriter {
    out: BufWriter<File>,
}

impl PredictionWriter {
    /// Creates `predictions.jsonl` in an existing folder.
    pub fn create(folder: &Path) -> Result<Self, StageError> {
        Ok(Self { out: BufWriter::new(File::create(folder.join(PREDICTIONS_FILE))?) })
    }

    /// Writes one row.
    pub fn write(&mut self, prediction: &Prediction) -> Result<(), StageError> {
        serde_json::to_writer(&mut self.out, prediction).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Writes what is still buffered; without it the last rows may be lost unnoticed.
    pub fn finish(mut self) -> Result<(), StageError> {
        self.out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Result<Prediction, StageError>>, PredictionReader) {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(PREDICTIONS_FILE), text).unwrap();
        let mut reader = PredictionReader::open(folder.path()).unwrap();
        let rows = reader.by_ref().collect();
        (rows, reader)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            Prediction {
                id: "a".into(),
                prompt: "问题?\n".into(),
                reference: "<b>\u{1f600}".into(),
                prediction: String::new(),
                loss: Some(0.1 + 0.2),
                scores: BTreeMap::from([("rouge_l".into(), 1.0 / 3.0)]),
            },
            Prediction {
                id: "b".into(),
                prompt: String::new(),
                reference: String::new(),
                prediction: "x".into(),
                loss: None,
                scores: BTreeMap::new(),
            },
        ];
        let mut writer = PredictionWriter::create(folder.path()).unwrap();
        for row in &rows {
            writer.write(row).unwrap();
        }
        writer.finish().unwrap();
        let read: Vec<_> = PredictionReader::open(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, rows);
    }

    #[test]
    fn rows_of_other_tools_are_understood() {
        let (rows, reader) = read(concat!(
            "\u{feff}{\"prompt\":\"p\",\"label\":\"r\",\"predict\":\"x\"}\n\n",
            "{\"id\":7,\"reference\":\"r\",\"prediction\":\"x\",\"model\":\"m\",\"loss\":null,\"scores\":{\"a\":1,\"b\":null}}"
        ));
        let rows: Vec<_> = rows.into_iter().map(Result::unwrap).collect();
        assert_eq!((rows[0].id.as_str(), rows[0].reference.as_str(), rows[0].prediction.as_str()), ("row-1", "r", "x"));
        assert_eq!((rows[1].id.as_str(), rows[1].loss, rows[1].scores.len()), ("7", None, 1));
        assert_eq!((reader.without_id(), reader.ignored_scores()), (1, 1));
    }

    #[test]
    fn a_malformed_row_names_its_line() {
        let (rows, _) = read("{\"id\":\"a\",\"reference\":\"r\",\"prediction\":\"x\"}\n{\"id\":\"b\"}\n");
        let error = rows[1].as_ref().unwrap_err();
        assert_eq!(error.code, "predictions::malformed");
        assert_eq!(error.place.as_ref().unwrap().line, Some(2));
    }

    #[test]
    fn a_missing_file_says_what_to_give() {
        let folder = tempfile::tempdir().unwrap();
        let error = PredictionReader::open(folder.path()).err().unwrap();
        assert_eq!(error.code, "predictions::missing");
    }
}
