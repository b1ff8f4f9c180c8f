use refit_llm::model::{Row, Rows};

use crate::tokens;

/// Rows of a tokens artifact, read where they are mapped.
pub(super) struct TokenPart<'a>(pub(super) tokens::Rows<'a>);

impl Rows for TokenPart<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize) -> Row<'_> {
        let (ids, mask) = self.0.get(index);
        Row { ids, mask }
    }
}
