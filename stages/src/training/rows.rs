use refit_llm::model::{Row, Rows};

use crate::tokens;

/// Rows of a tokens artifact, read where they are mapped.
pub(crate) struct TokenPart<'a> {
    rows: tokens::Rows<'a>,
    /// Which of them, where it is not all.
    chosen: Option<Vec<usize>>,
}

impl<'a> TokenPart<'a> {
    /// All rows.
    pub(crate) fn all(rows: tokens::Rows<'a>) -> Self {
        Self { rows, chosen: None }
    }

    /// The rows that a model is to learn to say: of preferences, those with a desired answer.
    pub(crate) fn to_learn(rows: tokens::Rows<'a>) -> Self {
        let desired = |known: tokens::Preferences<'_>| (0..rows.len()).filter(|&row| known.desired[row] != 0).collect();
        Self { rows, chosen: rows.preferences().map(desired) }
    }

    /// How many rows are not among them.
    pub(crate) fn left_out(&self) -> usize {
        self.rows.len() - self.len()
    }
}

impl Rows for TokenPart<'_> {
    fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.rows.len(), Vec::len)
    }

    fn row(&self, index: usize) -> Row<'_> {
        let (ids, mask) = self.rows.get(self.chosen.as_ref().map_or(index, |chosen| chosen[index]));
        Row { ids, mask }
    }
}
