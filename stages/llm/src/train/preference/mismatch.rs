use crate::model::{OwnedRows, Row};

/// Each question with the answer to the one before (the first with the last one's): KTO measures how far policy and
/// reference are apart on answers that were not asked for. What does not fit into `longest` tokens is cut off.
pub(super) fn mismatched(rows: &[Row<'_>], longest: usize) -> OwnedRows {
    // The first token has nothing before it and is never asked for.
    let question = |row: &Row<'_>| row.mask.iter().position(|target| *target != 0).unwrap_or(row.ids.len()).max(1);
    let others = rows.iter().cycle().skip(rows.len().saturating_sub(1));
    rows.iter()
        .zip(others)
        .map(|(row, other)| {
            let (asked, answered) = (question(row), question(other));
            let mut ids = row.ids[..asked].to_vec();
            ids.extend(&other.ids[answered..]);
            let mut mask = vec![0; asked];
            mask.extend(&other.mask[answered..]);
            ids.truncate(longest);
            mask.truncate(longest);
            (ids, mask)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_gets_the_answer_before() {
        let rows = [
            Row { ids: &[1, 2, 3, 4], mask: &[0, 0, 1, 1] },
            Row { ids: &[5, 6, 7], mask: &[0, 1, 1] },
            Row { ids: &[8, 9, 10, 11], mask: &[0, 0, 0, 1] },
        ];
        let expected = vec![
            (vec![1, 2, 11], vec![0, 0, 1]),
            (vec![5, 3, 4], vec![0, 1, 1]),
            (vec![8, 9, 10, 6], vec![0, 0, 0, 1]),
        ];
        assert_eq!(mismatched(&rows, 4), expected);
    }
}
