use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// How the rows of a file changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RowChange {
    /// Rows that were not there before.
    pub added: usize,
    /// Rows that are gone.
    pub removed: usize,
    /// Rows that have another content, by their number now, from 1; a header is not counted.
    pub changed: Vec<usize>,
    /// The same rows stand in another order, or some of them do.
    pub reordered: bool,
    /// The header is another.
    pub header: bool,
}

/// Two files that have nothing in common are not compared for longer than this; the numbers are then rougher.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many changed rows are named.
const NAMED: usize = 5;

impl RowChange {
    /// Compares rows by their digests.
    pub(super) fn between(old: &[u64], new: &[u64]) -> Self {
        if old.len() == new.len() && counts(old) == counts(new) {
            return Self { reordered: old != new, ..Self::default() };
        }
        let mut change = Self::default();
        let until = Instant::now().checked_add(PATIENCE);
        for op in capture_diff_slices_deadline(Algorithm::Myers, old, new, until) {
            match op {
                DiffOp::Equal { .. } => {}
                DiffOp::Delete { old_len, .. } => change.removed += old_len,
                DiffOp::Insert { new_len, .. } => change.added += new_len,
                DiffOp::Replace { old_len, new_index, new_len, .. } => {
                    let both = old_len.min(new_len);
                    change.changed.extend(new_index + 1..=new_index + both);
                    change.removed += old_len - both;
                    change.added += new_len - both;
                }
            }
        }
        change
    }
}

fn counts(rows: &[u64]) -> HashMap<u64, usize> {
    let mut counts = HashMap::with_capacity(rows.len());
    for row in rows {
        *counts.entry(*row).or_default() += 1;
    }
    counts
}

impl fmt::Display for RowChange {
    /// `3 rows added, 1 changed (row 17)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.header {
            parts.push("another header".to_owned());
        }
        for (number, what) in [(self.added, "added"), (self.removed, "removed"), (self.changed.len(), "changed")] {
            let rows = if parts.iter().any(|part| part.contains("row")) {
                String::new()
            } else if number == 1 {
                " row".to_owned()
            } else {
                " rows".to_owned()
            };
            if number > 0 {
                parts.push(format!("{number}{rows} {what}"));
            }
        }
        if let Some(last) = parts.last_mut().filter(|_| !self.changed.is_empty()) {
            let named: Vec<String> = self.changed.iter().take(NAMED).map(ToString::to_string).collect();
            let more = if self.changed.len() > NAMED { ", …" } else { "" };
            let rows = if self.changed.len() == 1 { "row" } else { "rows" };
            last.push_str(&format!(" ({rows} {}{more})", named.join(", ")));
        }
        if self.reordered {
            parts.push("the same rows in another order".to_owned());
        }
        if parts.is_empty() {
            // Line ends, say: no row has another content.
            parts.push("no row has another content".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_rows_are_counted_and_the_changed_ones_named() {
        for (old, new, told) in [
            (&[1, 2, 3][..], &[1, 2, 3, 4, 5, 6][..], "3 rows added"),
            (&[1, 2, 3], &[1, 9, 3, 4], "1 row added, 1 changed (row 2)"),
            (&[1, 2, 3], &[1, 9, 3], "1 row changed (row 2)"),
            (&[1, 2, 3], &[3], "2 rows removed"),
            (&[1, 2, 3], &[3, 1, 2], "the same rows in another order"),
            (&[1, 1], &[1], "1 row removed"),
            (&[], &[], "no row has another content"),
            (&[1, 2, 3, 4, 5, 6, 7], &[11, 12, 13, 14, 15, 16, 7], "6 rows changed (rows 1, 2, 3, 4, 5, …)"),
        ] {
            assert_eq!(RowChange::between(old, new).to_string(), told);
        }
    }
}
