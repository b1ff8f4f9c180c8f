//! Lines of a file that may not be text, one at a time and never longer than a bound.

use std::io::{self, BufRead};

/// One line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line is in the caller's buffer.
    Whole,
    /// The line is longer than the bound: its beginning is in the caller's buffer, the rest was passed over.
    TooLong {
        /// How long it really is.
        bytes: u64,
    },
}

/// Reads lines as bytes, so that neither a wrong encoding nor a file without line breaks can end or exhaust the reader.
pub struct BoundedLines<R> {
    reader: R,
    limit: usize,
    line: u64,
    consumed: u64,
}

impl<R: BufRead> BoundedLines<R> {
    /// Reads lines of at most `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, line: 0, consumed: 0 }
    }

    /// The number of the line read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes read so far, line breaks included.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads the next line into `buffer`; `None` at the end of the file.
    ///
    /// `\n` and `\r\n` end a line, and a byte order mark before the first line is passed over.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Line>> {
        buffer.clear();
        let mut bytes = 0_u64;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                if bytes == 0 {
                    return Ok(None);
                }
                break;
            }
            let (taken, ended) = match available.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (available.len(), false),
            };
            let text = if ended { taken - 1 } else { taken };
            // One byte above the bound, for the `\r` of a line break.
            let room = (self.limit + 1).saturating_sub(buffer.len());
            buffer.extend_from_slice(&available[..text.min(room)]);
            self.reader.consume(taken);
            self.consumed += taken as u64;
            bytes += taken as u64;
            if ended {
                bytes -= 1;
                break;
            }
        }
        self.line += 1;
        if bytes == buffer.len() as u64 && buffer.last() == Some(&b'\r') {
            buffer.pop();
            bytes -= 1;
        }
        if self.line == 1 && buffer.starts_with(b"\xEF\xBB\xBF") {
            buffer.drain(..3);
            bytes -= 3;
        }
        if bytes > self.limit as u64 {
            buffer.truncate(self.limit);
            return Ok(Some(Line::TooLong { bytes }));
        }
        Ok(Some(Line::Whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8], limit: usize) -> Vec<(Line, String)> {
        let mut lines = BoundedLines::new(io::BufReader::with_capacity(3, text), limit);
        let mut buffer = Vec::new();
        let mut all = Vec::new();
        while let Some(line) = lines.read(&mut buffer).unwrap() {
            all.push((line, String::from_utf8_lossy(&buffer).into_owned()));
        }
        assert_eq!(lines.consumed(), text.len() as u64);
        all
    }

    #[test]
    fn line_breaks_and_the_byte_order_mark_are_no_part_of_a_line() {
        let lines = read_all("\u{feff}ab\r\n\ncd".as_bytes(), 4);
        assert_eq!(lines, [(Line::Whole, "ab".into()), (Line::Whole, String::new()), (Line::Whole, "cd".into())]);
    }

    #[test]
    fn a_line_above_the_bound_is_cut_and_the_next_one_is_whole() {
        let lines = read_all(b"0123456789\nabcd\r\nabcde\n", 4);
        assert_eq!(
            lines,
            [
                (Line::TooLong { bytes: 10 }, "0123".into()),
                (Line::Whole, "abcd".into()),
                (Line::TooLong { bytes: 5 }, "abcd".into())
            ]
        );
    }
}
