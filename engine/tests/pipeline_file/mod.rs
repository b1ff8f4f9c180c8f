//! Pipeline files as people write them: the right ones load, the wrong ones are explained.

#![allow(clippy::unwrap_used, reason = "tests")]

mod invalid;
mod kinds;
mod limits;
mod matrix;
mod overrides;
mod places;
mod random;
mod schema;
mod sweep;
mod valid;

use std::path::Path;

use crate::spec::Override;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

/// What a person sees, without colour.
fn shown(error: &dyn Diagnostic) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(110)
        .with_links(false)
        .render_report(&mut text, error)
        .unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The overrides in the lines of a fixture that begin with `# -S `.
fn overrides_in(file: &Path) -> Vec<Override> {
    let text = String::from_utf8_lossy(&fs_err::read(file).unwrap()).into_owned();
    text.lines().filter_map(|line| line.strip_prefix("# -S ")).map(|text| Override::parse(text).unwrap()).collect()
}

/// The fixtures in a folder beside this file, by name.
fn fixtures(folder: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs_err::read_dir(Path::new("tests").join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}
