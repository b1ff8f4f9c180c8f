//! Says what is wrong with a text that is not YAML.

use std::ops::Range;

use super::{Mistake, Span};

/// A syntax error the parser noticed at byte `at`.
pub(super) fn explain(text: &str, number: usize, offset: usize, at: usize, problem: &str) -> Mistake {
    let at = at.min(text.len());
    let span = |range: Range<usize>| Span::new(number, range.start + offset..range.end + offset);
    if let Some(reference) = bare_reference(text, at) {
        let written = &text[reference.clone()];
        return Mistake::new(
            "pipeline::yaml_syntax",
            "inside `{ }` and `[ ]`, YAML reads the `{` of `${…}` as the start of a map",
        )
        .at(span(reference), "put this in quotation marks")
        .help(format!("write `\"{written}\"`"));
    }
    let place = here(text, at);
    let help = hint(text, &place, problem);
    Mistake::new("pipeline::yaml_syntax", format!("this is not YAML: {}", plain_words(problem)))
        .at(span(place), "here the text stops making sense")
        .maybe_help(help)
}

/// The last `${…}` without quotation marks that begins shortly before the error.
fn bare_reference(text: &str, at: usize) -> Option<Range<usize>> {
    let line_start = text[..at].rfind('\n').map_or(0, |line| line + 1);
    let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let line = &text[line_start..line_end];
    let before = &text[line_start..at];
    let candidates = line.match_indices("${").filter(|(start, _)| {
        let earlier = &line[..*start];
        let in_flow = earlier.matches(['{', '[']).count() > earlier.matches(['}', ']']).count();
        let quoted = earlier.matches('"').count() % 2 == 1 || earlier.matches('\'').count() % 2 == 1;
        in_flow && !quoted && *start <= before.len()
    });
    let (start, _) = candidates.last()?;
    let length = line[start..].find('}')? + 1;
    Some(line_start + start..line_start + start + length)
}

/// One character at the error, or the end of the last text before it.
fn here(text: &str, at: usize) -> Range<usize> {
    let starts_well = text[at..].chars().next().filter(|c| !c.is_whitespace());
    if let Some(c) = starts_well {
        return at..at + c.len_utf8();
    }
    let before = text[..at].trim_end();
    let length = before.chars().next_back().map_or(0, char::len_utf8);
    before.len() - length..before.len()
}

fn hint(text: &str, place: &Range<usize>, problem: &str) -> Option<String> {
    let line_start = text[..place.start].rfind('\n').map_or(0, |line| line + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let help = if indent.contains('\t') || problem.contains("tab") {
        "indent with spaces: YAML takes no tabs there"
    } else if problem.contains("mapping values are not allowed") {
        "a text that holds `: ` must stand in quotation marks; keys of one map must start in one column"
    } else if problem.contains("unknown anchor") {
        "an alias `*name` needs an anchor `&name` before it; a text that begins with `*` must stand in quotation marks"
    } else if problem.contains("quoted scalar") {
        "is a quotation mark not closed? In \"…\" a backslash begins an escape; '…' takes everything as it is"
    } else if problem.contains("flow") || problem.contains("',' or") {
        "is a `]`, `}` or comma missing?"
    } else if problem.contains("cannot start any token") {
        "a text that begins with this character must stand in quotation marks"
    } else if problem.contains("block mapping")
        || problem.contains("block collection")
        || problem.contains("simple key")
    {
        "keys of one map must start in one column, each with `: ` after it"
    } else {
        return None;
    };
    Some(help.to_owned())
}

/// The parser's words without what it was doing at the time.
fn plain_words(problem: &str) -> &str {
    let words = problem.trim().trim_end_matches('.');
    match words.split_once(", ") {
        Some((doing, rest)) if doing.starts_with("while ") => rest,
        _ => words,
    }
}
