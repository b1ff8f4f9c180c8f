//! A list of runs as a table, as CSV and as Markdown.

use super::{
    Row,
    columns::Column,
    sheet::{FormatArgs, Sheet},
};
use crate::{
    failure::Failure,
    ui::{Table, Ui, count, width},
};

/// Between two columns of a table.
const GAP: usize = 2;

/// Prints a list of runs.
pub(super) fn print(rows: &[Row<'_>], columns: Vec<Column>, format: FormatArgs, ui: Ui) -> Result<(), Failure> {
    if !format.wants_sheet() {
        return table(rows, columns, ui);
    }
    let sheet = if format.csv {
        sheet(rows, &columns, Column::exact, |column| &column.0)
    } else {
        sheet(rows, &columns, Column::cell, Column::title)
    };
    sheet.print(format, ui)
}

/// On a terminal, the columns that do not fit are left out from the right, where the less important ones stand.
fn table(rows: &[Row<'_>], mut columns: Vec<Column>, ui: Ui) -> Result<(), Failure> {
    let cells = |column: &Column| rows.iter().map(|row| column.cell(row)).collect::<Vec<_>>();
    let mut filled: Vec<Vec<String>> = columns.iter().map(cells).collect();
    if let Some(columns_there) = ui.data_width() {
        let mut taken = 0;
        let fitting = columns.iter().zip(&filled).take_while(|(column, cells)| {
            let widest = cells.iter().map(|cell| width(cell)).max().unwrap_or(0);
            taken += widest.max(width(column.title())) + GAP;
            taken <= columns_there + GAP
        });
        let fitting = fitting.count().max(1);
        let left_out: Vec<String> = columns.drain(fitting..).map(|column| format!("`{}`", column.0)).collect();
        filled.truncate(fitting);
        if !left_out.is_empty() {
            ui.say(&format!(
                "{} left out for want of room: {}; `--columns` chooses",
                count(left_out.len(), "column"),
                left_out.join(", ")
            ));
        }
    }
    let mut table = Table::new();
    table.row(columns.iter().map(Column::title));
    for (place, row) in rows.iter().enumerate() {
        table.row(columns.iter().zip(&filled).map(|(column, cells)| {
            let cell = cells[place].as_str();
            if column.0 == "status" { ui.paint_data(cell, color(row.status)) } else { cell.to_owned() }
        }));
    }
    Ok(ui.data(&table.text())?)
}

fn color(status: &str) -> &'static str {
    match status {
        "ok" => "32",
        "running" => "36",
        "interrupted" => "33",
        _ => "31",
    }
}

fn sheet(
    rows: &[Row<'_>],
    columns: &[Column],
    cell: impl Fn(&Column, &Row<'_>) -> String,
    title: fn(&Column) -> &str,
) -> Sheet {
    let mut sheet = Sheet::new(columns.iter().map(title));
    for row in rows {
        sheet.row(columns.iter().map(|column| cell(column, row)));
    }
    sheet
}
