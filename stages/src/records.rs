//! The one record shape every stage kind reads and writes: a conversation, its id, and where it came from.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use fs_err::File;
use refit_engine::stage::{StageError, file_in};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The file that holds the rows in a records artifact.
pub const RECORDS_FILE: &str = "records.jsonl";

/// One conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Stays with the row through every stage; predictions are matched by it.
    pub id: String,
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// The source row (`row`) and every column that is not part of the conversation.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// One turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Reads records one at a time, so that memory does not grow with the file.
pub struct RecordReader {
    path: PathBuf,
    lines: BufReader<File>,
    buffer: String,
    line: u64,
}

impl RecordReader {
    /// Opens a records artifact: its folder, or a `records.jsonl` by itself.
    pub fn open(input: &Path) -> Result<Self, StageError> {
        let path = file_in(input, RECORDS_FILE);
        let lines = BufReader::with_capacity(1 << 16, File::open(&path)?);
        Ok(Self { path, lines, buffer: String::new(), line: 0 })
    }
}

impl Iterator for RecordReader {
    type Item = Result<Record, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.buffer.clear();
            self.line += 1;
            match self.lines.read_line(&mut self.buffer) {
                Err(error) => return Some(Err(StageError::from(error).at_line(&self.path, self.line))),
                Ok(0) => return None,
                Ok(_) if self.buffer.trim().is_empty() => {}
                Ok(_) => {
                    return Some(serde_json::from_str(&self.buffer).map_err(|error| {
                        StageError::new("records::malformed", format!("this line is not a record: {error}"))
                            .at_line(&self.path, self.line)
                            .help("raw data (alpaca, ShareGPT, messages) goes through a `clean` stage first")
                    }));
                }
            }
        }
    }
}

/// Writes the rows of a records artifact.
pub struct RecordWriter {
    out: BufWriter<File>,
}

impl RecordWriter {
    /// Creates `records.jsonl` in an existing folder.
    pub fn create(folder: &Path) -> Result<Self, StageError> {
        Ok(Self { out: BufWriter::new(File::create(folder.join(RECORDS_FILE))?) })
    }

    /// Writes one row.
    pub fn write(&mut self, record: &Record) -> Result<(), StageError> {
        serde_json::to_writer(&mut self.out, record).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Writes what is still buffered; without it the last rows may be lost unnoticed.
    pub fn finish(mut self) -> Result<(), StageError> {
        self.out.flush()?;
        Ok(())
    }
}
