use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::{Change, Changes};

/// Removes control characters and characters without width that carry no meaning, and makes every line break `\n`.
///
/// The zero-width joiner and non-joiner stay between letters of scripts that need them and inside emoji.
pub(super) fn remove(text: String, changes: &mut Changes) -> String {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' => {
                changes.add(Change::Whitespace);
                if chars.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            // Vertical tab, form feed, next line, line and paragraph separator.
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                changes.add(Change::Whitespace);
                out.push('\n');
            }
            _ if c.is_control() => changes.add(Change::ControlCharacters),
            '\u{200c}' | '\u{200d}' => {
                if out.chars().next_back().is_some_and(joins) && chars.peek().copied().is_some_and(joins) {
                    out.push(c);
                } else {
                    changes.add(Change::ZeroWidth);
                }
            }
            // Zero-width space, word joiner, invisible operators, byte order mark, soft hyphen, direction marks and
            // overrides, interlinear annotation.
            '\u{200b}'
            | '\u{2060}'..='\u{2064}'
            | '\u{feff}'
            | '\u{ad}'
            | '\u{180e}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' => {
                changes.add(Change::ZeroWidth);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Whether a joiner beside this character can mean something: not in ASCII, Chinese or punctuation.
fn joins(c: char) -> bool {
    !c.is_ascii()
        && !c.is_whitespace()
        && !matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{200b}'..='\u{200f}' | '\u{ff00}'..='\u{ffef}')
}

/// Normalises to composed characters (NFC).
pub(super) fn compose(text: String, changes: &mut Changes) -> String {
    if text.is_ascii() || is_nfc(&text) {
        return text;
    }
    changes.add(Change::Unicode);
    text.nfc().collect()
}
