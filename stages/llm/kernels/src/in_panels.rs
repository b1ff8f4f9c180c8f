//! Rows in the form that a product goes through from their beginning to their end.

use crate::pairs::PANEL;

/// Rows cut into panels of 48 columns, `[columns / 48][rows][48]`, the last panel as narrow as what is left.
///
/// Rows as they lie are as far from each other as they are long. Where that is a multiple of a high power of two, few places of a near cache
/// would have to hold all that a panel needs.
#[derive(Clone, Copy)]
pub(crate) struct InPanels<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> InPanels<'a> {
    /// The numbers from a row and the first column of a panel on, and how far it is from a row to the next.
    pub(crate) fn from(self, row: usize, column: usize) -> (&'a [f32], usize) {
        debug_assert!(column.is_multiple_of(PANEL), "a panel begins there");
        let width = (self.columns - column).min(PANEL);
        (&self.values[column * self.rows + row * width..], width)
    }
}
