use std::fmt;

use super::shard::{computed, pieces};
use crate::model::{Row, common_prefix};

/// How much of a training's rows is computed once for several of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Tokens that all rows begin with; of those that go through the model.
    pub prefix: usize,
    /// Rows.
    pub rows: usize,
    /// Tokens that go through the model in one pass over the rows.
    pub computed: usize,
    /// Tokens that would if each row went by itself.
    pub apart: usize,
}

impl Sharing {
    /// Counts one batch. `self.prefix` is left to the caller, who knows all rows.
    pub(super) fn count(&mut self, batch: &[Row<'_>], together: usize) {
        for part in pieces(batch, common_prefix(batch), together) {
            let rows: Vec<Row<'_>> = part.iter().map(|&row| batch[row]).collect();
            self.rows += rows.len();
            self.computed += computed(&rows, common_prefix(&rows));
            self.apart += computed(&rows, 0);
        }
    }

    /// The share of all tokens that need not be computed.
    pub fn saved(&self) -> f64 {
        1.0 - self.computed as f64 / self.apart.max(1) as f64
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            0 => write!(f, "rows of a batch share their beginning: ")?,
            1 => write!(f, "prefix of 1 token shared by {} rows: ", self.rows)?,
            prefix => write!(f, "prefix of {prefix} tokens shared by {} rows: ", self.rows)?,
        }
        write!(f, "{:.0} % fewer tokens", self.saved() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_counted_and_told() {
        let ids: Vec<Vec<u32>> = (0..4).map(|row| vec![1, 2, 3, 4, 10 + row, 20, 30]).collect();
        let mask = [0, 0, 0, 0, 0, 1, 1];
        let rows: Vec<Row<'_>> = ids.iter().map(|ids| Row { ids, mask: &mask }).collect();
        let mut sharing = Sharing { prefix: common_prefix(&rows), ..Sharing::default() };
        sharing.count(&rows, 1);
        // The last token is only ever predicted; of six, four are the same in all.
        assert_eq!(sharing, Sharing { prefix: 4, rows: 4, computed: 4 + 4 * 2, apart: 4 * 6 });
        assert_eq!(sharing.to_string(), "prefix of 4 tokens shared by 4 rows: 50 % fewer tokens");
        let mut alone = Sharing::default();
        alone.count(&rows[..1], 1);
        assert!(alone.saved().abs() < 1e-12);
    }
}
