use super::{Batch, Model, Row, check_row, head::logits, values};
use crate::LlmError;

impl Model {
    /// The logits at the places of a row that predict its targets, one list over the vocabulary for each.
    ///
    /// # Errors
    /// A row the model cannot take; a failing device.
    pub fn logits(&self, row: Row<'_>) -> Result<Vec<Vec<f32>>, LlmError> {
        check_row(row, 0, self.config())?;
        let tables = self.tables(&Batch::new(&[row], false))?;
        let hidden = self.supervised_hidden(&tables, None);
        // What pads them comes last.
        let mut rows = vec![Vec::with_capacity(self.config().vocab_size); row.supervised()];
        for (shard, logits) in self.head.shards().iter().zip(logits(&hidden, &self.head, self.config().logit_cap)) {
            let logits = values(logits)?;
            rows.iter_mut().zip(logits.chunks_exact(shard.rows.len())).for_each(|(row, part)| row.extend(part));
        }
        Ok(rows)
    }
}
