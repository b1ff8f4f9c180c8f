use super::{Batch, Model, Row, capped, check_row, values};
use crate::LlmError;

impl Model {
    /// The logits at the places of a row that predict its targets, one list over the vocabulary for each.
    ///
    /// # Errors
    /// A row the model cannot take; a failing device.
    pub fn logits(&self, row: Row<'_>) -> Result<Vec<Vec<f32>>, LlmError> {
        check_row(row, 0, self.config())?;
        let tables = self.tables(&Batch::new(&[row], false));
        let hidden = self.supervised_hidden(&tables, None);
        let logits = values(capped(hidden.matmul(self.head().transpose()), self.config().logit_cap))?;
        Ok(logits.chunks_exact(self.config().vocab_size).map(<[f32]>::to_vec).collect())
    }
}
