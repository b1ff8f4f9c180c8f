use std::{
    collections::VecDeque,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use csv::{ByteRecord, Reader, ReaderBuilder};
use fs_err::File;
use refit_engine::stage::StageError;

use super::row::RawBody;
use crate::clean::problem::{Problem, Reason};

/// Rows of a CSV file (RFC 4180: quotes, doubled quotes, line breaks inside quotes), under the names of its first line.
pub(super) struct CsvRows {
    reader: Reader<Allowance>,
    header: Arc<Vec<String>>,
    finished: bool,
}

/// A file that hands out no more than an allowance of bytes for each row, so that a quote that is never closed cannot
/// fill the memory with the rest of the file.
struct Allowance {
    file: File,
    left: u64,
    consumed: u64,
    lines: LineBreaks,
}

/// The line breaks that were read ahead of the row: the CSV reader itself counts the lines it has passed, which is not
/// where a row begins when `\r\n` or blank lines come before it.
#[derive(Default)]
struct LineBreaks {
    /// Where each `\n` lies, and whether a `\r` comes before it.
    ahead: VecDeque<(u64, bool)>,
    passed: u64,
    after_return: bool,
}

impl LineBreaks {
    /// Takes note of bytes that begin at an offset.
    fn note(&mut self, offset: u64, bytes: &[u8]) {
        for (at, &byte) in (offset..).zip(bytes) {
            if byte == b'\n' {
                self.ahead.push_back((at, self.after_return));
            }
            self.after_return = byte == b'\r';
        }
    }

    /// The line of the first row at or after an offset.
    fn line_at(&mut self, mut offset: u64) -> u64 {
        while let Some(&(at, after_return)) = self.ahead.front() {
            let blank = at == offset || (after_return && at == offset + 1);
            if at >= offset && !blank {
                break;
            }
            offset = offset.max(at + 1);
            self.passed += 1;
            self.ahead.pop_front();
        }
        self.passed + 1
    }
}

/// What the CSV reader buffers ahead of the row it is in.
const AHEAD: usize = 1 << 16;

impl Read for Allowance {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the row is longer than `max_line_bytes`"));
        }
        let read = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        self.lines.note(self.consumed, &buffer[..read]);
        self.consumed += read as u64;
        Ok(read)
    }
}

impl CsvRows {
    pub(super) fn open(path: &Path, longest: usize) -> Result<Self, StageError> {
        let delimiter = delimiter(path)?;
        let allowance = Allowance {
            file: File::open(path)?,
            left: (longest + 2 * AHEAD) as u64,
            consumed: 0,
            lines: LineBreaks::default(),
        };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(AHEAD).from_reader(allowance);
        let names = reader.byte_headers().map_err(|error| {
            StageError::new("clean::bad_header", "the header line cannot be read").at_line(path, 1).caused_by(&error)
        })?;
        let mut header = Vec::with_capacity(names.len());
        for name in names {
            let Ok(name) = std::str::from_utf8(name) else {
                return Err(StageError::new("clean::bad_header", "the header line is not UTF-8")
                    .at_line(path, 1)
                    .help("save the file as UTF-8 (in Excel: \"CSV UTF-8\")"));
            };
            let name = name.trim_start_matches('\u{feff}').trim().to_owned();
            if header.contains(&name) {
                return Err(StageError::new("clean::bad_header", format!("two columns are named `{name}`"))
                    .at_line(path, 1)
                    .help("give every column a name of its own in the first line"));
            }
            header.push(name);
        }
        reader.get_mut().left = (longest + 2 * AHEAD) as u64;
        Ok(Self { reader, header: Arc::new(header), finished: false })
    }

    pub(super) fn consumed(&self) -> u64 {
        self.reader.get_ref().consumed
    }

    /// The next row, with the line where it begins.
    pub(super) fn next(&mut self, longest: usize) -> io::Result<Option<(u64, RawBody)>> {
        if self.finished {
            return Ok(None);
        }
        self.reader.get_mut().left = (longest + AHEAD) as u64;
        let mut record = ByteRecord::new();
        let start = self.reader.position().byte();
        match self.reader.read_byte_record(&mut record) {
            Ok(true) => {
                let line = self.reader.get_mut().lines.line_at(start);
                let bytes = record.as_slice().len();
                let body = if bytes > longest {
                    RawBody::Broken(
                        super::jsonl::oversized(bytes as u64),
                        record.as_slice()[..bytes.min(1 << 14)].to_vec(),
                    )
                } else {
                    RawBody::Csv(Arc::clone(&self.header), record)
                };
                Ok(Some((line, body)))
            }
            Ok(false) => Ok(None),
            Err(error) => match error.into_kind() {
                csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    self.finished = true;
                    let line = self.reader.get_mut().lines.line_at(start);
                    let detail = "the row is longer than `max_line_bytes`: a quote that opens here is probably never closed; the rest of the file is not read";
                    Ok(Some((line, RawBody::Broken(Problem::new(Reason::OversizedRow, detail), Vec::new()))))
                }
                csv::ErrorKind::Io(error) => Err(error),
                other => Err(io::Error::other(format!("{other:?}"))),
            },
        }
    }
}

/// The separator that the header line uses: a comma, else a tab, else a semicolon.
fn delimiter(path: &Path) -> Result<u8, StageError> {
    let mut start = Vec::new();
    File::open(path)?.take(1 << 16).read_to_end(&mut start)?;
    let header = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok([b',', b'\t', b';'].into_iter().find(|delimiter| header.contains(delimiter)).unwrap_or(b','))
}
