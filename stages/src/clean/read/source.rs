use std::io::BufReader;

use fs_err::File;
use refit_engine::stage::StageError;

use super::{
    csv::CsvRows,
    files::{Layout, SourceFile},
    json::ValueRows,
    jsonl::LineRows,
    row::RawRow,
};

/// The rows of one file.
pub(in crate::clean) struct RowReader<'a> {
    file: &'a SourceFile,
    number: usize,
    longest: usize,
    rows: Rows,
}

enum Rows {
    Lines(LineRows),
    Values(ValueRows<BufReader<File>>),
    Csv(CsvRows),
}

impl<'a> RowReader<'a> {
    /// Opens the file with this number; no row may be longer than `longest` bytes.
    pub(in crate::clean) fn open(file: &'a SourceFile, number: usize, longest: usize) -> Result<Self, StageError> {
        let rows = match file.layout {
            Layout::Lines => Rows::Lines(LineRows::open(&file.path, longest)?),
            Layout::Values => Rows::Values(ValueRows::open(&file.path, longest)?),
            Layout::Csv => Rows::Csv(CsvRows::open(&file.path, longest)?),
        };
        Ok(Self { file, number, longest, rows })
    }

    /// Bytes taken from the file so far.
    pub(in crate::clean) fn consumed(&self) -> u64 {
        match &self.rows {
            Rows::Lines(rows) => rows.consumed(),
            Rows::Values(rows) => rows.consumed(),
            Rows::Csv(rows) => rows.consumed(),
        }
    }

    /// The next row; `None` at the end of the file.
    pub(in crate::clean) fn next(&mut self) -> Result<Option<RawRow>, StageError> {
        let found = match &mut self.rows {
            Rows::Lines(rows) => rows.next().map(|found| found.map(|(line, body)| (line, line, body))),
            Rows::Values(rows) => rows.next(),
            Rows::Csv(rows) => rows.next(self.longest).map(|found| found.map(|(line, body)| (line, line, body))),
        };
        let found = found.map_err(|error| StageError::from(error).at(&self.file.path))?;
        Ok(found.map(|(line, row, body)| RawRow { file: self.number, line, row, body }))
    }
}
