use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use refit_checkpoint::ModelConfig;

use super::batch::indices;

/// Added to the score of a key a query may not see. Finite, so that a row of nothing else stays a number.
pub(crate) const HIDDEN: f32 = -1e9;

/// Rows of similar length, attended together.
#[derive(Debug, Clone)]
pub(crate) struct AttentionGroup {
    /// Tokens at the start of the pass that every row of the group sees in full.
    pub(crate) before: usize,
    /// First token and number of tokens of each row.
    pub(crate) spans: Vec<(usize, usize)>,
}

/// Heads of the attention, and how wide each is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    /// Fewer than `heads` in grouped-query attention.
    pub(crate) key_heads: usize,
    pub(crate) head_dim: usize,
}

impl AttentionShape {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self { heads: config.heads, key_heads: config.kv_heads, head_dim: config.head_dim }
    }
}

/// How the tokens of a pass attend: gathers that bring the heads of each group into dense, padded form and back.
///
/// One gather replaces padding, splitting into heads and transposing. The keys of a head shared by several query heads
/// (grouped-query attention) are not repeated: its query heads are stacked as further queries.
pub(crate) struct AttentionPlan {
    groups: Vec<GroupPlan>,
    /// For token·heads + head: its row in the groups' joined output.
    restore: Tensor<1, Int>,
    heads: usize,
    key_heads: usize,
    head_dim: usize,
}

struct GroupPlan {
    rows: usize,
    queries: usize,
    keys: usize,
    /// Row of `[tokens · heads, d]` for row, key head, query head within it, query.
    query_at: Tensor<1, Int>,
    /// Row of `[tokens · key heads, d]` for row, key head, key.
    key_at: Tensor<1, Int>,
    /// `[1, 1, heads per key head · queries, keys]`.
    mask: Tensor<4>,
}

impl AttentionPlan {
    pub(crate) fn new(groups: &[AttentionGroup], tokens: usize, config: &ModelConfig, device: &Device) -> Self {
        let (heads, key_heads) = (config.heads, config.kv_heads);
        let stack = heads / key_heads;
        let mut restore = vec![0u32; tokens * heads];
        let mut placed = 0;
        let groups = groups
            .iter()
            .map(|group| {
                let queries = group.spans.iter().map(|(_, length)| *length).max().unwrap_or(0);
                let keys = group.before + queries;
                let mut query_at = Vec::with_capacity(group.spans.len() * heads * queries);
                let mut key_at = Vec::with_capacity(group.spans.len() * key_heads * keys);
                for &(start, length) in &group.spans {
                    for key_head in 0..key_heads {
                        for head in key_head * stack..(key_head + 1) * stack {
                            for query in 0..queries {
                                // A padded query computes something that nothing reads.
                                let from = if query < length { (start + query) * heads + head } else { 0 };
                                if query < length {
                                    restore[from] = placed as u32;
                                }
                                query_at.push(from as u32);
                                placed += 1;
                            }
                        }
                        // Padded keys come after all real ones, where the mask hides them from every real query.
                        key_at.extend(
                            (0..group.before)
                                .chain(start..start + length)
                                .map(|token| (token * key_heads + key_head) as u32),
                        );
                        key_at.resize(key_at.len() + queries - length, 0);
                    }
                }
                GroupPlan {
                    rows: group.spans.len(),
                    queries,
                    keys,
                    query_at: indices(&query_at, device),
                    key_at: indices(&key_at, device),
                    mask: causal_mask(stack, queries, group.before, device),
                }
            })
            .collect();
        Self { groups, restore: indices(&restore, device), heads, key_heads, head_dim: config.head_dim }
    }
}

/// `[1, 1, stack · queries, before + queries]`: query i sees the keys before it all, and those up to `before + i`.
fn causal_mask(stack: usize, queries: usize, before: usize, device: &Device) -> Tensor<4> {
    let keys = before + queries;
    let mut mask = vec![0f32; queries * keys];
    for (query, row) in mask.chunks_mut(keys.max(1)).enumerate() {
        row[before + query + 1..].fill(HIDDEN);
    }
    let stacked = mask.repeat(stack);
    Tensor::from_data(TensorData::new(stacked, [1, 1, stack * queries, keys]), device)
}

/// Attention of packed rows: queries `[tokens, heads, d]` (scaled), keys and values `[tokens, key heads, d]`, to `[tokens, heads · d]`.
pub(crate) fn attend(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, plan: &AttentionPlan) -> Tensor<2> {
    let (tokens, d) = (query.dims()[0], plan.head_dim);
    let stack = plan.heads / plan.key_heads;
    let query = query.reshape([tokens * plan.heads, d]);
    let key = key.reshape([tokens * plan.key_heads, d]);
    let value = value.reshape([tokens * plan.key_heads, d]);
    let mut outputs: Vec<Tensor<2>> = plan
        .groups
        .iter()
        .map(|group| {
            let q = query.clone().select(0, group.query_at.clone()).reshape([
                group.rows,
                plan.key_heads,
                stack * group.queries,
                d,
            ]);
            let [k, v] = [&key, &value].map(|x| {
                x.clone().select(0, group.key_at.clone()).reshape([group.rows, plan.key_heads, group.keys, d])
            });
            scored(q, k, v, group.mask.clone()).reshape([group.rows * plan.heads * group.queries, d])
        })
        .collect();
    let joined = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) };
    joined.select(0, plan.restore.clone()).reshape([tokens, plan.heads * d])
}

/// softmax(q·kᵀ + mask)·v over `[rows, key heads, queries or keys, d]`; the mask broadcasts over rows and heads.
pub(crate) fn scored(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
    let scores = q.matmul(k.swap_dims(2, 3)) + mask;
    activation::softmax(scores, 3).matmul(v)
}
