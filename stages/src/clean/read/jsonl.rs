use std::{io::BufReader, path::Path};

use fs_err::File;
use refit_engine::stage::StageError;

use super::row::RawBody;
use crate::{
    clean::problem::{Problem, Reason},
    lines::{BoundedLines, Line},
};

/// Rows of a file with one JSON object a line.
pub(super) struct LineRows {
    lines: BoundedLines<BufReader<File>>,
}

impl LineRows {
    pub(super) fn open(path: &Path, longest: usize) -> Result<Self, StageError> {
        Ok(Self { lines: BoundedLines::new(BufReader::with_capacity(1 << 16, File::open(path)?), longest) })
    }

    pub(super) fn consumed(&self) -> u64 {
        self.lines.consumed()
    }

    /// The next line that is not blank, with its number.
    pub(super) fn next(&mut self) -> std::io::Result<Option<(u64, RawBody)>> {
        let mut line = Vec::new();
        loop {
            let body = match self.lines.read(&mut line)? {
                None => return Ok(None),
                Some(Line::Whole) if line.trim_ascii().is_empty() => continue,
                Some(Line::Whole) => RawBody::Json(std::mem::take(&mut line)),
                Some(Line::TooLong { bytes }) => {
                    line.truncate(1 << 14);
                    RawBody::Broken(oversized(bytes), std::mem::take(&mut line))
                }
            };
            return Ok(Some((self.lines.line(), body)));
        }
    }
}

/// A row above the bound.
pub(super) fn oversized(bytes: u64) -> Problem {
    Problem::new(
        Reason::OversizedRow,
        format!(
            "the row has {bytes} bytes; `max_line_bytes` allows fewer. Is it one JSON array, or a file without line breaks?"
        ),
    )
}
