use unicode_width::UnicodeWidthStr;

/// Rows whose cells stand in columns as wide as their widest cell. Cells may be coloured: escapes take no width.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a row; rows may be of different lengths. A cell is one line.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let one_line = |cell: String| if cell.contains('\n') { cell.replace('\n', "⏎") } else { cell };
        self.rows.push(cells.into_iter().map(Into::into).map(one_line).collect());
        self
    }

    /// The lines, without trailing space.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// The lines as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }
}

/// Text with spaces behind it up to a width on the terminal.
pub(crate) fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// Columns that text takes on the terminal; a Chinese character takes two, a colour none.
pub(crate) fn width(text: &str) -> usize {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_the_terminal_shows() {
        let mut table = Table::new();
        table.row(["训练", "a"]).row(["\u{1b}[31mx\u{1b}[0m", "b"]).row(["four", ""]);
        assert_eq!(table.lines(), ["训练  a", "\u{1b}[31mx\u{1b}[0m     b", "four"]);
    }
}
