//! The one record shape every stage kind reads and writes: a conversation, its id, and where it came from.
//!
//! A conversation may say what its last answer is worth: by a worse one (`rejected`), or by itself (`desirable`). A text
//! that is no conversation is one turn of the role `text`.

use std::{
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fs_err::File;
use refit_engine::stage::{StageError, file_in};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::lines::{BoundedLines, Line};

/// The file that holds the rows in a records artifact.
pub const RECORDS_FILE: &str = "records.jsonl";

/// The file beside them that says how they came about.
pub const REPORT_FILE: &str = "report.json";

/// One conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Stays with the row through every stage; predictions are matched by it.
    pub id: String,
    /// The turns, oldest first.
    pub messages: Vec<Message>,
    /// An answer to the same turns that is worse than the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Whether the last turn is an answer to be given or one to be avoided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desirable: Option<bool>,
    /// The source row (`row`) and every column that is not part of the conversation.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// One turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or `tool`; `text` is a text by itself.
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

/// The role of a text that is no conversation.
pub const TEXT: &str = "text";

/// The role under which [`said`] tells the rejected answer.
pub const REJECTED: &str = "rejected";

/// Who says what: every turn, then the rejected answer.
pub fn said<'a>(
    messages: &'a [Message],
    rejected: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
    let turns = messages.iter().map(|message| (message.role.as_str(), message.content.as_str()));
    turns.chain(rejected.map(|answer| (REJECTED, answer)))
}

/// Whether the turns are a text by itself.
pub fn is_text(messages: &[Message]) -> bool {
    matches!(messages, [only] if only.role == TEXT)
}

/// The longest line a records artifact may have: far above any real row, far below the memory of a machine.
const LONGEST_LINE: usize = 256 << 20;

/// Reads records one at a time, so that memory does not grow with the file.
pub struct RecordReader {
    path: PathBuf,
    lines: BoundedLines<BufReader<File>>,
    buffer: Vec<u8>,
    /// Where the line read last begins.
    start: u64,
}

impl RecordReader {
    /// Opens a records artifact: its folder, or a `records.jsonl` by itself.
    pub fn open(input: &Path) -> Result<Self, StageError> {
        let path = file_in(input, RECORDS_FILE);
        let lines = BoundedLines::new(BufReader::with_capacity(1 << 16, File::open(&path)?), LONGEST_LINE);
        Ok(Self { path, lines, buffer: Vec::new(), start: 0 })
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> u64 {
        self.lines.consumed()
    }

    /// The line of the record handed out last, from 1.
    pub fn line(&self) -> u64 {
        self.lines.line()
    }

    /// Where, in bytes, the record handed out last begins: what [`RecordsAt::read`] takes.
    pub fn offset(&self) -> u64 {
        self.start
    }
}

impl Iterator for RecordReader {
    type Item = Result<Record, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.start = self.lines.consumed();
            match self.lines.read(&mut self.buffer) {
                Err(error) => {
                    return Some(Err(StageError::from(error).at_line(&self.path, self.lines.line() + 1)));
                }
                Ok(None) => return None,
                Ok(Some(Line::TooLong { bytes })) => {
                    return Some(Err(StageError::new(
                        "records::malformed",
                        format!("this line has {bytes} bytes; a record has at most {LONGEST_LINE}"),
                    )
                    .at_line(&self.path, self.lines.line())
                    .help(
                        "a records file holds one JSON object a line; raw data goes through a `clean` stage first",
                    )));
                }
                Ok(Some(Line::Whole)) if self.buffer.trim_ascii().is_empty() => {}
                Ok(Some(Line::Whole)) => {
                    return Some(parse(&self.buffer).map_err(|error| error.at_line(&self.path, self.lines.line())));
                }
            }
        }
    }
}

/// What is wrong with a JSON text, and where in the row: its own line numbers would be taken for those of the file.
pub(crate) fn json_mistake(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    match line {
        0 => what.to_owned(),
        1 => format!("{what}, at byte {column} of the row"),
        _ => format!("{what}, at byte {column} of line {line} of the row"),
    }
}

fn parse(line: &[u8]) -> Result<Record, StageError> {
    serde_json::from_slice(line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)).map_err(|error| {
        StageError::new("records::malformed", format!("this line is not a record: {}", json_mistake(&error)))
            .help("raw data (alpaca, ShareGPT, messages) goes through a `clean` stage first")
    })
}

/// Reads single records again, by where they begin.
pub struct RecordsAt {
    path: PathBuf,
    lines: BufReader<File>,
    buffer: Vec<u8>,
}

impl RecordsAt {
    /// Opens a records artifact: its folder, or a `records.jsonl` by itself.
    pub fn open(input: &Path) -> Result<Self, StageError> {
        let path = file_in(input, RECORDS_FILE);
        Ok(Self { lines: BufReader::with_capacity(1 << 13, File::open(&path)?), path, buffer: Vec::new() })
    }

    /// Reads the record that begins at this byte.
    pub fn read(&mut self, offset: u64) -> Result<Record, StageError> {
        self.lines.seek(SeekFrom::Start(offset))?;
        self.buffer.clear();
        self.lines.read_until(b'\n', &mut self.buffer)?;
        parse(&self.buffer).map_err(|error| error.at(&self.path))
    }
}

/// Writes the rows of a records artifact.
pub struct RecordWriter {
    out: BufWriter<File>,
    line: Vec<u8>,
    position: u64,
}

impl RecordWriter {
    /// Creates `records.jsonl` in an existing folder.
    pub fn create(folder: &Path) -> Result<Self, StageError> {
        Ok(Self { out: BufWriter::new(File::create(folder.join(RECORDS_FILE))?), line: Vec::new(), position: 0 })
    }

    /// Writes one row.
    pub fn write(&mut self, record: &Record) -> Result<(), StageError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        self.position += self.line.len() as u64;
        Ok(())
    }

    /// Where, in bytes, the next row begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Makes every row written so far visible to readers of the file.
    pub fn flush(&mut self) -> Result<(), StageError> {
        Ok(self.out.flush()?)
    }

    /// Writes what is still buffered; without it the last rows may be lost unnoticed.
    pub fn finish(mut self) -> Result<(), StageError> {
        self.flush()
    }
}

/// Writes `report.json` beside the rows.
pub fn write_report(folder: &Path, report: &impl Serialize) -> Result<(), StageError> {
    let mut text = serde_json::to_vec_pretty(report).map_err(std::io::Error::from)?;
    text.push(b'\n');
    Ok(fs_err::write(folder.join(REPORT_FILE), text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record {
            id: id.into(),
            messages: vec![Message::new("user", "多行\n?")],
            rejected: None,
            desirable: None,
            meta: Map::new(),
        }
    }

    #[test]
    fn records_come_back_in_order_and_by_offset() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = RecordWriter::create(folder.path()).unwrap();
        let mut offsets = Vec::new();
        for id in ["a", "b", "c"] {
            offsets.push(writer.position());
            writer.write(&record(id)).unwrap();
        }
        writer.finish().unwrap();
        let mut reader = RecordReader::open(folder.path()).unwrap();
        for (id, &offset) in ["a", "b", "c"].iter().zip(&offsets) {
            assert_eq!(reader.next().unwrap().unwrap(), record(id));
            assert_eq!(reader.offset(), offset);
        }
        assert!(reader.next().is_none());
        let mut at = RecordsAt::open(folder.path()).unwrap();
        assert_eq!(at.read(offsets[2]).unwrap(), record("c"));
        assert_eq!(at.read(offsets[0]).unwrap(), record("a"));
    }

    #[test]
    fn a_bad_line_names_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RECORDS_FILE);
        fs_err::write(&file, b"\n{\"id\":\"a\",\"messages\":[]}\r\n\xff\xfe\n").unwrap();
        let rows: Vec<_> = RecordReader::open(&file).unwrap().collect();
        assert!(rows[0].is_ok());
        assert_eq!(rows[1].as_ref().unwrap_err().place.as_ref().unwrap().line, Some(3));
    }
}
