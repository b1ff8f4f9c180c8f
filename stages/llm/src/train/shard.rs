use crate::model::{Row, common_prefix};

/// Tokens of a shard at which the matrix products of a CPU core are near their best.
const TOKENS_PER_SHARD: usize = 256;

/// Fewer tokens than this are not worth cutting up.
const SMALLEST_CUT: usize = 128;

/// Tokens that the fused pass takes at once: it is near its best with far fewer, and what it keeps of each block for the
/// way back is most of the memory a training needs. A GPU takes as many, so that several have parts to share.
pub(super) const TOKENS_PER_PIECE: usize = 1024;

/// Cuts a batch into parts that are computed side by side: for each part, indices into `rows`.
///
/// The cut depends on the rows alone, never on the machine, because the order in which gradients are summed shows in
/// their last bits and a result must not depend on the number of threads. The count is even so that two cores share
/// the work. Every `together` rows, one after the other, stay in one part.
pub(crate) fn shards(rows: &[Row<'_>], prefix: usize, together: usize) -> Vec<Vec<usize>> {
    let computed = computed(rows, prefix);
    let count = if computed < SMALLEST_CUT { 1 } else { 2 * (computed / (2 * TOKENS_PER_SHARD)).max(1) };
    or_by_themselves(rows, together, deal(rows, prefix, count, together))
}

/// Cuts a batch into the fewest parts of bounded size, which are computed one after the other, or by several devices. The cut
/// depends on the rows alone, as that of [`shards`].
pub(crate) fn pieces(rows: &[Row<'_>], prefix: usize, together: usize) -> Vec<Vec<usize>> {
    let count = computed(rows, prefix).div_ceil(TOKENS_PER_PIECE);
    or_by_themselves(rows, together, deal(rows, prefix, count, together))
}

/// Cuts a batch into the fewest parts that all fit, if there are such.
pub(crate) fn fitting(
    rows: &[Row<'_>],
    prefix: usize,
    together: usize,
    fits: impl Fn(&[Row<'_>]) -> bool,
) -> Vec<Vec<usize>> {
    if fits(rows) {
        return vec![(0..rows.len()).collect()];
    }
    let part_fits = |part: &Vec<usize>| fits(&part.iter().map(|&row| rows[row]).collect::<Vec<_>>());
    let groups = rows.len() / together;
    let mut cuts = (2..groups).map(|count| deal(rows, prefix, count, together));
    cuts.find(|parts| parts.iter().all(part_fits)).unwrap_or_else(|| deal(rows, prefix, groups, together))
}

/// Rows that belong together, such as two answers to one question, share more with each other than with all: where fewer
/// tokens go through the model then, each such group is a part by itself.
fn or_by_themselves(rows: &[Row<'_>], together: usize, parts: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    if together == 1 {
        return parts;
    }
    let apart: Vec<Vec<usize>> =
        (0..rows.len()).step_by(together).map(|first| (first..first + together).collect()).collect();
    let tokens = |parts: &[Vec<usize>]| -> usize {
        let rows_of = |part: &Vec<usize>| part.iter().map(|&row| rows[row]).collect::<Vec<_>>();
        parts.iter().map(rows_of).map(|rows| computed(&rows, common_prefix(&rows))).sum()
    };
    if tokens(&apart) < tokens(&parts) { apart } else { parts }
}

/// Tokens that go through the model for rows that share their beginning of so many tokens.
pub(super) fn computed(rows: &[Row<'_>], prefix: usize) -> usize {
    prefix + rows.iter().map(|row| row.needed().saturating_sub(prefix)).sum::<usize>()
}

/// Deals groups of `together` rows out to so many parts, longest first, each to the lightest part.
fn deal(rows: &[Row<'_>], prefix: usize, count: usize, together: usize) -> Vec<Vec<usize>> {
    let groups = rows.len() / together;
    let members = |group: usize| group * together..(group + 1) * together;
    let own = |group: usize| rows[members(group)].iter().map(|row| row.needed().saturating_sub(prefix)).sum::<usize>();
    let mut parts: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); count.min(groups).max(1)];
    let mut order: Vec<usize> = (0..groups).collect();
    order.sort_by_key(|&group| (std::cmp::Reverse(own(group)), group));
    for group in order {
        let lightest = parts.iter_mut().min_by_key(|(load, _)| *load).expect("invariant: there is a part");
        lightest.0 += own(group);
        lightest.1.extend(members(group));
    }
    parts.into_iter().map(|(_, rows)| rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_until_its_parts_fit() {
        let (ids, mask) = ([1; 9], [0, 1, 1, 1, 1, 1, 1, 1, 1]);
        let rows: Vec<Row<'_>> = (4..=9).map(|length| Row { ids: &ids[..length], mask: &mask[..length] }).collect();
        let tokens = |rows: &[Row<'_>]| rows.iter().map(Row::needed).sum::<usize>();
        for (together, most, expected) in [(1, 33, 1), (1, 20, 2), (1, 12, 3), (2, 12, 3), (1, 3, 6), (2, 3, 3)] {
            let parts = fitting(&rows, 0, together, |part| tokens(part) <= most);
            assert_eq!(parts.len(), expected, "{together} {most}: {parts:?}");
            assert!(parts.iter().all(|part| part.chunks(together).all(|group| group[0] % together == 0)));
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows.len()).collect::<Vec<_>>());
        }
    }
}
