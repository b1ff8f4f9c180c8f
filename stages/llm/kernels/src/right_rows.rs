//! The rows that products in f32 meet.

use crate::pairs::PANEL;

/// Rows of a right side in f32, and how they lie.
#[derive(Clone, Copy)]
pub(crate) enum RightRows<'a> {
    /// One after the other.
    Lanes {
        values: &'a [f32],
        /// From a row to the next.
        stride: usize,
    },
    /// Cut into panels of 48 columns, `[columns / 48][rows][48]`, the last panel as narrow as what is left: a product goes through a panel from its
    /// beginning to its end.
    ///
    /// Rows in lanes are as far from each other as they are long. Where that is a multiple of a high power of two, few places of a near cache
    /// would have to hold all that a panel needs.
    Panels { values: &'a [f32], rows: usize, columns: usize },
}

impl<'a> RightRows<'a> {
    /// The numbers from a row and the first column of a panel on, and how far it is from a row to the next.
    pub(crate) fn from(self, row: usize, column: usize) -> (&'a [f32], usize) {
        match self {
            Self::Lanes { values, stride } => (&values[row * stride + column..], stride),
            Self::Panels { values, rows, columns } => {
                debug_assert!(column.is_multiple_of(PANEL), "a panel begins there");
                let width = (columns - column).min(PANEL);
                (&values[column * rows + row * width..], width)
            }
        }
    }
}
