//! Longest common subsequences.

/// The length of a longest common subsequence, in memory linear in `b`.
pub(crate) fn lcs_length<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row = vec![0_usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// The positions in `reference` of one longest common subsequence: the one `rouge_score` reads out of its table.
pub(crate) fn lcs_indices<T: PartialEq>(reference: &[T], candidate: &[T]) -> Vec<usize> {
    let columns = candidate.len() + 1;
    let mut table = vec![0_u32; (reference.len() + 1) * columns];
    for (i, x) in reference.iter().enumerate() {
        for (j, y) in candidate.iter().enumerate() {
            table[(i + 1) * columns + j + 1] = if x == y {
                table[i * columns + j] + 1
            } else {
                table[i * columns + j + 1].max(table[(i + 1) * columns + j])
            };
        }
    }
    let (mut i, mut j) = (reference.len(), candidate.len());
    let mut indices = Vec::new();
    while i > 0 && j > 0 {
        if reference[i - 1] == candidate[j - 1] {
            indices.push(i - 1);
            i -= 1;
            j -= 1;
        } else if table[i * columns + j - 1] > table[(i - 1) * columns + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    indices
}
