use std::{collections::HashMap, ops::Range};

/// The parts of a Markdown text that are code: fenced blocks and spans between backticks. What stands there is meant
/// literally.
///
/// A fence is a run of three or more backticks or tildes at the beginning of a line; it ends with a run at least as
/// long, or with the text. A span ends with a run of exactly as many backticks in the same paragraph.
pub(super) fn code_ranges(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    // Where, for a run of that length, no closing run is found any more: keeps the search linear.
    let mut hopeless: HashMap<usize, usize> = HashMap::new();
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| matches!(byte, b'`' | b'~')) {
        let start = at + found;
        let mark = bytes[start];
        let length = run(bytes, start);
        if length >= 3 && begins_line(text, start) {
            let end = fence_end(text, start + length, mark, length);
            ranges.push(start..end);
            at = end;
        } else if mark == b'`' && hopeless.get(&length).is_none_or(|&until| start >= until) {
            match span_end(bytes, start + length, length) {
                Ok(end) => {
                    ranges.push(start..end);
                    at = end;
                }
                Err(paragraph) => {
                    hopeless.insert(length, paragraph);
                    at = start + length;
                }
            }
        } else {
            at = start + length;
        }
    }
    ranges
}

/// How many times the byte at `start` stands there.
fn run(bytes: &[u8], start: usize) -> usize {
    bytes[start..].iter().take_while(|&&byte| byte == bytes[start]).count()
}

fn begins_line(text: &str, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..at].bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// The end of the line that closes a fence, without its line break.
fn fence_end(text: &str, from: usize, mark: u8, length: usize) -> usize {
    let Some(newline) = text[from..].find('\n') else { return text.len() };
    let mut line = from + newline + 1;
    for content in text[line..].split('\n') {
        let marks = content.trim_matches([' ', '\t']);
        if marks.len() >= length && marks.bytes().all(|byte| byte == mark) {
            return line + content.trim_end_matches([' ', '\t']).len();
        }
        line += content.len() + 1;
    }
    text.len()
}

/// The end of a span that began with `length` backticks before `from`, or where its paragraph ends without one.
fn span_end(bytes: &[u8], from: usize, length: usize) -> Result<usize, usize> {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'`' => {
                let found = run(bytes, at);
                at += found;
                if found == length {
                    return Ok(at);
                }
            }
            b'\n'
                if bytes[at + 1..]
                    .iter()
                    .find(|byte| !matches!(byte, b' ' | b'\t'))
                    .is_none_or(|&byte| byte == b'\n') =>
            {
                return Err(at);
            }
            _ => at += 1,
        }
    }
    Err(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<&str> {
        code_ranges(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn spans_and_fences_are_found() {
        assert_eq!(code("a `b` c ``d ` e`` f ` g"), ["`b`", "``d ` e``"]);
        assert_eq!(code("x\n```sh\nls `\n```\ny `z`"), ["```sh\nls `\n```", "`z`"]);
        assert_eq!(code("~~~\nopen"), ["~~~\nopen"]);
        assert_eq!(code("`not\n\nclosed` `here`"), ["` `"]);
    }

    #[test]
    fn unclosed_runs_take_linear_time() {
        let runs: Vec<String> = (1..2000).map(|n| "`".repeat(n % 50 + 1 + n / 50)).collect();
        code_ranges(&runs.join(" ").repeat(20));
    }
}
