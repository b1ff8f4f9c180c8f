//! The program and its arguments.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use super::params::{Command, is_own_program};

/// The shell, which ends at the first command that fails and at a variable that is not set.
const SHELL: [&str; 2] = ["/bin/sh", "-euc"];

/// A piece of an argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// `$NAME`
    Variable(&'t str),
}

/// Takes an argument apart. `$$` is a dollar sign, and so is one before anything that is no name.
pub(super) fn pieces(argument: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = argument;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        let name = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(after, |end| &after[..end]);
        let text_end = if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) { at + 1 } else { at };
        if text_end > 0 {
            pieces.push(Piece::Text(&rest[..text_end]));
        }
        rest = if text_end == at {
            pieces.push(Piece::Variable(name));
            &after[name.len()..]
        } else {
            after.strip_prefix('$').unwrap_or(after)
        };
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// What is started. Variables that are not there stand for nothing; `check` has seen to it that they are.
pub(super) fn arguments(run: &Command, environment: &BTreeMap<String, OsString>, folder: &Path) -> Vec<OsString> {
    match run {
        Command::Shell(script) => SHELL.iter().chain([&script.as_str()]).map(OsString::from).collect(),
        Command::Arguments(arguments) => {
            let mut filled: Vec<OsString> = arguments.iter().map(|argument| fill(argument, environment)).collect();
            if let (Some(program), Some(first)) =
                (arguments.first().filter(|it| is_own_program(it)), filled.first_mut())
            {
                *first = folder.join(program).into();
            }
            filled
        }
    }
}

fn fill(argument: &str, environment: &BTreeMap<String, OsString>) -> OsString {
    let mut filled = OsString::new();
    for piece in pieces(argument) {
        match piece {
            Piece::Text(text) => filled.push(text),
            Piece::Variable(name) => filled.push(environment.get(name).cloned().unwrap_or_default()),
        }
    }
    filled
}
