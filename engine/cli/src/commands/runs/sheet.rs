//! A table for other programs: as CSV and as Markdown.

use clap::Args;

use crate::{failure::Failure, ui::Ui};

/// What a table is printed as, if not for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub(crate) struct FormatArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    /// Print comma-separated values, in full.
    #[arg(long)]
    pub(super) csv: bool,
    /// Print a Markdown table.
    #[arg(long)]
    pub(super) md: bool,
}

impl FormatArgs {
    /// Whether a sheet is asked for.
    pub(super) fn wants_sheet(self) -> bool {
        self.csv || self.md
    }
}

/// Rows below a header.
#[derive(Debug)]
pub(super) struct Sheet {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    pub(super) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints the sheet as it is asked for.
    pub(super) fn print(&self, format: FormatArgs, ui: Ui) -> Result<(), Failure> {
        Ok(ui.data(&if format.csv { self.csv()? } else { self.markdown() })?)
    }

    fn csv(&self) -> Result<String, Failure> {
        let failed = |error: csv::Error| std::io::Error::other(error);
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&self.header).chain(&self.rows) {
            writer.write_record(row).map_err(failed)?;
        }
        let bytes = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn markdown(&self) -> String {
        let escaped = |text: &String| text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ");
        let line = |cells: &Vec<String>| format!("| {} |", cells.iter().map(escaped).collect::<Vec<_>>().join(" | "));
        let rule = line(&self.header.iter().map(|_| "---".to_owned()).collect());
        let mut lines = vec![line(&self.header), rule];
        lines.extend(self.rows.iter().map(line));
        lines.join("\n")
    }
}
