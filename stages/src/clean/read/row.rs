use std::{fmt::Write, sync::Arc};

use csv::ByteRecord;
use serde_json::{Map, Value};

use crate::{
    clean::problem::{Problem, Reason},
    records::json_mistake,
};

/// One row as it stands in the file.
pub(in crate::clean) struct RawRow {
    /// Which of the source files.
    pub file: usize,
    /// The line where it begins, from 1.
    pub line: u64,
    /// Its number for people: the line, or the place in a JSON array (from 1).
    pub row: u64,
    /// What stands there.
    pub body: RawBody,
}

/// What stands in a row.
pub(in crate::clean) enum RawBody {
    /// The text of one JSON value.
    Json(Vec<u8>),
    /// The fields of one CSV row, under their header.
    Csv(Arc<Vec<String>>, ByteRecord),
    /// The row could not be taken out of the file in one piece; its beginning is here.
    Broken(Problem, Vec<u8>),
}

/// How much of a broken row is kept for people to look at.
const SHOWN: usize = 2000;

impl RawBody {
    /// The row's columns by name.
    pub(in crate::clean) fn columns(self) -> Result<Map<String, Value>, Problem> {
        match self {
            Self::Broken(problem, _) => Err(problem),
            Self::Json(text) => json_columns(&text),
            Self::Csv(header, record) => csv_columns(&header, &record),
        }
    }

    /// The beginning of the row as text, for the list of rejected rows.
    pub(in crate::clean) fn shown(&self) -> String {
        let mut text = match self {
            Self::Json(text) | Self::Broken(_, text) => lossy_start(text),
            Self::Csv(_, record) => {
                let mut text = String::new();
                for (number, field) in record.iter().enumerate() {
                    let _ = write!(text, "{}{}", if number == 0 { "" } else { "," }, lossy_start(field));
                }
                text
            }
        };
        if let Some((at, _)) = text.char_indices().nth(SHOWN) {
            text.truncate(at);
            text.push('…');
        }
        text
    }

    /// How many bytes it holds, to keep batches of rows small.
    pub(in crate::clean) fn size(&self) -> usize {
        match self {
            Self::Json(text) | Self::Broken(_, text) => text.len(),
            Self::Csv(_, record) => record.as_slice().len(),
        }
    }
}

fn lossy_start(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(4 * SHOWN)]).into_owned()
}

fn json_columns(text: &[u8]) -> Result<Map<String, Value>, Problem> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(not_utf8(error.valid_up_to() + 1));
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(columns)) => Ok(columns),
        Ok(other) => {
            let kind = match other {
                Value::Null => "null",
                Value::Bool(_) => "a truth value",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Array(_) => "an array (a JSON array of rows belongs in a `.json` file)",
                Value::Object(_) => "an object",
            };
            Err(Problem::new(Reason::NotAnObject, format!("the row is {kind}, not a JSON object")))
        }
        Err(error) => {
            Err(Problem::new(Reason::InvalidJson, format!("this is no valid JSON: {}", json_mistake(&error))))
        }
    }
}

fn csv_columns(header: &[String], record: &ByteRecord) -> Result<Map<String, Value>, Problem> {
    if record.len() != header.len() {
        let detail = format!("the row has {} fields, the header has {}", record.len(), header.len());
        return Err(Problem::new(Reason::FieldCount, detail));
    }
    header
        .iter()
        .zip(record)
        .map(|(name, field)| match std::str::from_utf8(field) {
            Ok(text) => Ok((name.clone(), Value::from(text))),
            Err(error) => Err(not_utf8(error.valid_up_to() + 1)),
        })
        .collect()
}

fn not_utf8(byte: usize) -> Problem {
    Problem::new(Reason::InvalidUtf8, format!("byte {byte} of the row is not UTF-8; save the file as UTF-8"))
}
