use crate::model::Row;

/// Tokens of a shard at which the matrix products of a CPU core are near their best.
const TOKENS_PER_SHARD: usize = 256;

/// Fewer tokens than this are not worth cutting up.
const SMALLEST_CUT: usize = 128;

/// Tokens that the fused pass takes at once: it is near its best with far fewer, and what it keeps of each block for the
/// way back is most of the memory a training needs.
const TOKENS_PER_PIECE: usize = 1024;

/// Cuts a batch into parts that are computed side by side: for each part, indices into `rows`.
///
/// The cut depends on the rows alone, never on the machine, because the order in which gradients are summed shows in
/// their last bits and a result must not depend on the number of threads. The count is even so that two cores share
/// the work.
pub(crate) fn shards(rows: &[Row<'_>], prefix: usize) -> Vec<Vec<usize>> {
    let computed = computed(rows, prefix);
    deal(rows, prefix, if computed < SMALLEST_CUT { 1 } else { 2 * (computed / (2 * TOKENS_PER_SHARD)).max(1) })
}

/// Cuts a batch into the fewest parts of bounded size, which are computed one after the other.
pub(crate) fn pieces(rows: &[Row<'_>], prefix: usize) -> Vec<Vec<usize>> {
    deal(rows, prefix, computed(rows, prefix).div_ceil(TOKENS_PER_PIECE))
}

/// Tokens that go through the model for rows that share their beginning of so many tokens.
pub(super) fn computed(rows: &[Row<'_>], prefix: usize) -> usize {
    prefix + rows.iter().map(|row| row.needed().saturating_sub(prefix)).sum::<usize>()
}

/// Deals rows out to so many parts, longest first, each to the lightest part.
fn deal(rows: &[Row<'_>], prefix: usize, count: usize) -> Vec<Vec<usize>> {
    let own = |row: usize| rows[row].needed().saturating_sub(prefix);
    let mut parts: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); count.min(rows.len()).max(1)];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| (std::cmp::Reverse(own(row)), row));
    for row in order {
        let lightest = parts.iter_mut().min_by_key(|(load, _)| *load).expect("invariant: there is a part");
        lightest.0 += own(row);
        lightest.1.push(row);
    }
    parts.into_iter().map(|(_, rows)| rows).collect()
}
