use super::Row;

/// Token rows in any storage: a memory-mapped artifact, or vectors in a test.
pub trait Rows: Sync {
    /// How many rows.
    fn len(&self) -> usize;

    /// The row at `index`, which is below [`Rows::len`].
    fn row(&self, index: usize) -> Row<'_>;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows held in memory: ids, and which of them are targets (1) or context (0).
pub type OwnedRows = Vec<(Vec<u32>, Vec<u8>)>;

impl Rows for OwnedRows {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn row(&self, index: usize) -> Row<'_> {
        let (ids, mask) = &self[index];
        Row { ids, mask }
    }
}
