use super::{Change, Changes, code::code_ranges};

/// Makes white space regular outside of code: runs of spaces inside a line become one, line ends are trimmed, one blank
/// line at most stands between paragraphs, and nothing stands before the first or after the last line. Indentation
/// stays. The ideographic space stays, too, except at the ends.
pub(super) fn tidy(text: String, changes: &mut Changes) -> String {
    let code = code_ranges(&text);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in code {
        squeeze(&text[at..range.start], &mut out);
        out.push_str(&text[range.clone()]);
        at = range.end;
    }
    squeeze(&text[at..], &mut out);
    let trimmed = trim(&out);
    if trimmed == text {
        return text;
    }
    changes.add(Change::Whitespace);
    trimmed.to_owned()
}

/// Appends prose, whose first line may go on from code.
fn squeeze(prose: &str, out: &mut String) {
    for (number, line) in prose.split('\n').enumerate() {
        if number > 0 {
            // What is left of the line before is complete now.
            out.truncate(out.trim_end_matches(is_space).len());
            if !(out.ends_with("\n\n") || out.is_empty()) {
                out.push('\n');
            }
        }
        let mut line = line;
        if out.is_empty() || out.ends_with('\n') {
            let content = line.trim_start_matches(is_space);
            out.extend(line[..line.len() - content.len()].chars().map(plain));
            line = content;
        }
        let mut gap = false;
        for c in line.chars() {
            if is_space(c) {
                gap = true;
                continue;
            }
            if std::mem::take(&mut gap) && !out.ends_with(' ') {
                out.push(' ');
            }
            out.push(c);
        }
        if gap && !out.ends_with(' ') {
            out.push(' ');
        }
    }
}

/// Spaces of any width but the ideographic one, which is Chinese typography.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}')
}

/// Indentation is made of tabs and plain spaces.
fn plain(c: char) -> char {
    if c == '\t' { c } else { ' ' }
}

/// Cuts blank lines before the text and white space after it; the first line keeps its indentation only when others
/// follow, as code without a fence has it.
fn trim(text: &str) -> &str {
    let text = text.trim_end();
    let content = text.trim_start();
    if !content.contains('\n') {
        return content;
    }
    let before = &text[..text.len() - content.len()];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let indent = &text[line..];
    if indent.starts_with('\u{3000}') { content } else { indent }
}
