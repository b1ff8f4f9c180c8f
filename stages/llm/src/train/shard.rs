use crate::model::Row;

/// Tokens of a shard at which the matrix products of a CPU core are near their best.
const TOKENS_PER_SHARD: usize = 256;

/// Fewer tokens than this are not worth cutting up.
const SMALLEST_CUT: usize = 128;

/// Cuts a batch into parts that are computed side by side: for each part, indices into `rows`.
///
/// The cut depends on the rows alone, never on the machine, because the order in which gradients are summed shows in
/// their last bits and a result must not depend on the number of threads. The count is even so that two cores share
/// the work; rows are dealt out longest first, each to the lightest part.
pub(crate) fn shards(rows: &[Row<'_>], prefix: usize) -> Vec<Vec<usize>> {
    let own = |row: usize| rows[row].needed().saturating_sub(prefix);
    let computed = prefix + (0..rows.len()).map(own).sum::<usize>();
    let count = if computed < SMALLEST_CUT { 1 } else { 2 * (computed / (2 * TOKENS_PER_SHARD)).max(1) };
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
