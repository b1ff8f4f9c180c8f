use std::{
    io::{self, BufRead, BufReader},
    path::Path,
};

use fs_err::File;
use refit_engine::stage::StageError;

use super::{jsonl::oversized, row::RawBody};
use crate::clean::problem::{Problem, Reason};

/// Takes the values of a JSON array, or of a file with one value after another, out of the file one by one.
///
/// Only brackets and quotes are followed here; whether a value is valid JSON is found out when it is parsed. That keeps
/// memory at one row, and a broken row costs itself and not the file: a raw line break, which no JSON string may hold,
/// shows a quote that was never closed, and reading goes on at the next line that begins with a brace.
pub(super) struct ValueRows<R> {
    reader: R,
    longest: usize,
    consumed: u64,
    /// The line of the next byte.
    line: u64,
    place: Place,
    row: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// Between values of an array; whether a comma came since the last one.
    InArray {
        comma: bool,
    },
    /// Between values that stand one after another.
    InSequence,
    AfterArray,
}

impl ValueRows<BufReader<File>> {
    pub(super) fn open(path: &Path, longest: usize) -> Result<Self, StageError> {
        Ok(Self::new(BufReader::with_capacity(1 << 16, File::open(path)?), longest))
    }
}

impl<R: BufRead> ValueRows<R> {
    fn new(reader: R, longest: usize) -> Self {
        Self { reader, longest, consumed: 0, line: 1, place: Place::Start, row: 0 }
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next value, with the line where it begins and its number from 1.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, u64, RawBody)>> {
        loop {
            let Some(byte) = self.peek()? else {
                let unclosed = matches!(self.place, Place::InArray { .. });
                self.place = Place::AfterArray;
                return Ok(unclosed.then(|| {
                    self.broken(Reason::UnfinishedFile, "the file ends before its closing `]`: it was cut off")
                }));
            };
            match (byte, self.place) {
                (b' ' | b'\t' | b'\r' | b'\n', _) => self.skip(),
                // A byte order mark.
                (0xef | 0xbb | 0xbf, Place::Start) if self.consumed < 3 => self.skip(),
                (b'[', Place::Start) | (b',', Place::InArray { comma: false }) => {
                    self.skip();
                    self.place = Place::InArray { comma: true };
                }
                (b']', Place::InArray { .. }) => {
                    self.skip();
                    self.place = Place::AfterArray;
                }
                (b',' | b']', Place::InArray { .. } | Place::InSequence | Place::Start) => {
                    let found = self.broken(Reason::InvalidJson, &format!("`{}` is not expected here", byte as char));
                    self.skip();
                    return Ok(Some(found));
                }
                (_, Place::AfterArray) => {
                    let found =
                        self.broken(Reason::InvalidJson, "there is more text after the closing `]`; it is not read");
                    self.skip_rest()?;
                    return Ok(Some(found));
                }
                (_, Place::InArray { comma }) => {
                    self.place = Place::InArray { comma: false };
                    let mut found = self.value()?;
                    if !comma && matches!(found.2, RawBody::Json(_)) {
                        let problem = Problem::new(Reason::InvalidJson, "a comma is missing before this row");
                        let RawBody::Json(text) = found.2 else { return Ok(Some(found)) };
                        found.2 = RawBody::Broken(problem, text);
                    }
                    return Ok(Some(found));
                }
                (_, Place::Start | Place::InSequence) => {
                    self.place = Place::InSequence;
                    return self.value().map(Some);
                }
            }
        }
    }

    fn broken(&mut self, reason: Reason, detail: &str) -> (u64, u64, RawBody) {
        (self.line, self.row, RawBody::Broken(Problem::new(reason, detail), Vec::new()))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Passes over the byte that `peek` showed.
    fn skip(&mut self) {
        let newline = self.reader.fill_buf().is_ok_and(|bytes| bytes.first() == Some(&b'\n'));
        self.reader.consume(1);
        self.consumed += 1;
        self.line += u64::from(newline);
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            let length = self.reader.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.reader.consume(length);
            self.consumed += length as u64;
        }
    }

    /// Passes over the rest of a broken row, up to a line that begins with a brace or ends the array.
    fn find_next_row(&mut self) -> io::Result<()> {
        if let Place::InArray { comma } = &mut self.place {
            *comma = true;
        }
        let mut begins_line = false;
        while let Some(byte) = self.peek()? {
            match byte {
                b'\n' => begins_line = true,
                b'{' | b']' if begins_line => break,
                b' ' | b'\t' | b'\r' => {}
                _ => begins_line = false,
            }
            self.skip();
        }
        Ok(())
    }

    /// Reads from the first byte of a value to its last.
    fn value(&mut self) -> io::Result<(u64, u64, RawBody)> {
        self.row += 1;
        let (line, row) = (self.line, self.row);
        let mut text = Vec::new();
        let mut scan = Scan::default();
        let mut bytes = 0_u64;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                // A bare number or word is ended by the end of the file, too.
                if scan.depth == 0 && !scan.in_string && bytes <= self.longest as u64 {
                    return Ok((line, row, RawBody::Json(text)));
                }
                let detail =
                    "the file ends inside this row: a bracket or a quote is not closed, or the file was cut off";
                text.truncate(1 << 14);
                return Ok((line, row, RawBody::Broken(Problem::new(Reason::UnfinishedFile, detail), text)));
            }
            let mut taken = 0;
            let (mut ended, mut unclosed) = (false, false);
            for &byte in available {
                match scan.step(byte) {
                    Step::Inside => {
                        taken += 1;
                        self.line += u64::from(byte == b'\n');
                    }
                    Step::Last => {
                        taken += 1;
                        ended = true;
                        break;
                    }
                    Step::Past => {
                        ended = true;
                        break;
                    }
                    Step::Unclosed => {
                        unclosed = true;
                        break;
                    }
                }
            }
            let room = self.longest.saturating_sub(text.len());
            text.extend_from_slice(&available[..taken.min(room)]);
            self.reader.consume(taken);
            self.consumed += taken as u64;
            bytes += taken as u64;
            if unclosed {
                self.find_next_row()?;
                text.truncate(1 << 14);
                let problem = Problem::new(Reason::InvalidJson, "a quote is not closed before the end of the line");
                return Ok((line, row, RawBody::Broken(problem, text)));
            }
            if ended {
                let body = if bytes > self.longest as u64 {
                    text.truncate(1 << 14);
                    RawBody::Broken(oversized(bytes), text)
                } else {
                    RawBody::Json(text)
                };
                return Ok((line, row, body));
            }
        }
    }
}

/// Where in a value the scan is.
#[derive(Default)]
struct Scan {
    depth: u64,
    in_string: bool,
    escaped: bool,
    started: bool,
}

enum Step {
    /// The value goes on after this byte.
    Inside,
    /// This byte is the value's last.
    Last,
    /// The value ended before this byte.
    Past,
    /// This byte cannot be in the string that it is in.
    Unclosed,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Step {
        let first = !std::mem::replace(&mut self.started, true);
        if self.in_string {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' => self.escaped = true,
                b'\n' => return Step::Unclosed,
                b'"' => {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Step::Last;
                    }
                }
                _ => {}
            }
            return Step::Inside;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            b',' | b']' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 && !first => return Step::Past,
            _ => {}
        }
        Step::Inside
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &[u8], longest: usize) -> Vec<(u64, u64, String)> {
        let mut rows = ValueRows::new(io::BufReader::with_capacity(7, text), longest);
        let mut all = Vec::new();
        while let Some((line, row, body)) = rows.next().unwrap() {
            let shown = match body {
                RawBody::Json(text) => String::from_utf8_lossy(&text).into_owned(),
                RawBody::Broken(problem, _) => format!("! {}", problem.reason.name()),
                RawBody::Csv(..) => unreachable!(),
            };
            all.push((line, row, shown));
        }
        all
    }

    #[test]
    fn an_array_is_taken_apart() {
        let text = "\u{feff}[\n {\"a\": \"x]}\\\"\"},\n {\"b\": [1, {\"c\": 2}]} , 3\n]\n".as_bytes();
        assert_eq!(
            rows(text, 100),
            [
                (2, 1, r#"{"a": "x]}\""}"#.to_owned()),
                (3, 2, r#"{"b": [1, {"c": 2}]}"#.to_owned()),
                (3, 3, "3".to_owned())
            ]
        );
    }

    #[test]
    fn values_one_after_another_are_taken_apart() {
        assert_eq!(rows(b"{\"a\":1}{\n\"b\":2}\n7", 100).len(), 3);
    }

    #[test]
    fn broken_rows_cost_themselves_only() {
        let names = |text: &[u8]| -> Vec<String> {
            rows(text, 12).into_iter().map(|(line, _, text)| format!("{line} {text}")).collect()
        };
        assert_eq!(
            names(b"[{\"a\": \"open},\n{\"b\": 1},\n{\"c\": \"0123456789\"}, {\"d\": 1} {\"e\": 2}"),
            [
                "1 ! invalid_json",
                "2 {\"b\": 1}",
                "3 ! oversized_row",
                "3 {\"d\": 1}",
                "3 ! invalid_json",
                "3 ! unfinished_file"
            ]
        );
        assert_eq!(
            names(b"[{\"a\": \"open\n},\n{\"b\": 1}] x"),
            ["1 ! invalid_json", "3 {\"b\": 1}", "3 ! invalid_json"]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_end(text in proptest::collection::vec(prop_oneof![Just(b'['), Just(b']'), Just(b'{'), Just(b'}'), Just(b'"'), Just(b','), Just(b'\n'), any::<u8>()], 0..200)) {
            let found = rows(&text, 20);
            prop_assert!(found.len() <= text.len() + 1);
        }
    }
}
