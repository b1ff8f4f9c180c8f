use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use refit_checkpoint::ModelConfig;

use super::{batch::indices, sizes::Sizes};

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

/// The size of a group with what pads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PaddedGroup {
    pub(crate) rows: usize,
    /// Keys that all rows begin with.
    pub(crate) before: usize,
    /// Queries of a row, and keys of its own.
    pub(crate) queries: usize,
}

impl AttentionGroup {
    pub(crate) fn padded(&self, sizes: Sizes) -> PaddedGroup {
        let longest = self.spans.iter().map(|(_, length)| *length).max().unwrap_or(0);
        PaddedGroup { rows: sizes.of(self.spans.len()), before: sizes.of(self.before), queries: sizes.of(longest) }
    }
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
    cap: Option<f32>,
}

struct GroupPlan {
    rows: usize,
    queries: usize,
    keys: usize,
    /// Row of `[tokens · heads, d]` for row, key head, query head within it, query.
    query_at: Tensor<1, Int>,
    /// Row of `[tokens · key heads, d]` for row, key head, key.
    key_at: Tensor<1, Int>,
    /// For each form of block, added to the scores: `[1, 1 or key heads, heads per key head · queries, keys]`.
    masks: Vec<Tensor<4>>,
}

impl AttentionPlan {
    /// That of a pass of so many tokens, those included that pad it.
    pub(crate) fn new(
        groups: &[AttentionGroup],
        tokens: usize,
        sizes: Sizes,
        config: &ModelConfig,
        device: &Device,
    ) -> Self {
        let (heads, key_heads) = (config.heads, config.kv_heads);
        let stack = heads / key_heads;
        let mut restore = vec![0u32; tokens * heads];
        let mut placed = 0;
        let groups = groups
            .iter()
            .map(|group| {
                let placed_before = placed;
                let PaddedGroup { rows, before, queries } = group.padded(sizes);
                let keys = before + queries;
                let mut query_at = Vec::with_capacity(rows * heads * queries);
                let mut key_at = Vec::with_capacity(rows * key_heads * keys);
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
                        // What pads keys is hidden by the mask: behind the common beginning from all queries, and behind a
                        // row's own from every real one.
                        let at = |token: usize| (token * key_heads + key_head) as u32;
                        key_at.extend((0..group.before).map(at));
                        key_at.resize(key_at.len() + before - group.before, 0);
                        key_at.extend((start..start + length).map(at));
                        key_at.resize(key_at.len() + queries - length, 0);
                    }
                }
                // Nothing reads what padded rows compute.
                query_at.resize(rows * heads * queries, 0);
                key_at.resize(rows * key_heads * keys, 0);
                placed = placed_before + rows * heads * queries;
                GroupPlan {
                    rows,
                    queries,
                    keys,
                    query_at: indices(&query_at, device),
                    key_at: indices(&key_at, device),
                    masks: masks(config, queries, [group.before, before], device),
                }
            })
            .collect();
        Self {
            groups,
            restore: indices(&restore, device),
            heads,
            key_heads,
            head_dim: config.head_dim,
            cap: config.attention.cap,
        }
    }
}

/// One for each form of block; those with the same window share theirs. Of the keys that `padded` rows begin with, those
/// from `before` on are nobody's.
fn masks(config: &ModelConfig, queries: usize, [before, padded]: [usize; 2], device: &Device) -> Vec<Tensor<4>> {
    let (stack, keys) = (config.heads / config.kv_heads, padded + queries);
    let mut made: Vec<(Option<usize>, Tensor<4>)> = Vec::new();
    let forms = config.layer_forms.iter().map(|form| {
        // A window that reaches over all of it hides nothing.
        let window = form.window.filter(|window| *window < keys);
        if let Some((_, mask)) = made.iter().find(|(known, _)| *known == window) {
            return mask.clone();
        }
        let one = |slope: f32| {
            let of_key = move |query: usize, key: usize| match key {
                key if key < before => bias(before + query, key, window, slope),
                key if key < padded => HIDDEN,
                key => bias(before + query, before + key - padded, window, slope),
            };
            (0..queries).flat_map(move |query| (0..keys).map(move |key| of_key(query, key)))
        };
        let (values, heads): (Vec<f32>, usize) = match &config.attention.slopes {
            Some(slopes) => (slopes.iter().flat_map(|slope| one(*slope)).collect(), config.kv_heads),
            None => (one(0.0).collect::<Vec<_>>().repeat(stack), 1),
        };
        let mask = Tensor::from_data(TensorData::new(values, [1, heads, stack * queries, keys]), device);
        made.push((window, mask.clone()));
        mask
    });
    forms.collect()
}

/// What is added to the score of a key for a query, by their positions: a query sees itself and what is before it, within
/// the window, and distance takes `slope` off for each token.
pub(crate) fn bias(query: usize, key: usize, window: Option<usize>, slope: f32) -> f32 {
    if key > query || window.is_some_and(|window| query - key >= window) {
        HIDDEN
    } else {
        -slope * (query - key) as f32
    }
}

/// Attention of packed rows in a block: queries `[tokens, heads, d]` (scaled), keys and values `[tokens, key heads, d]`, to
/// `[tokens, heads · d]`.
pub(crate) fn attend(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    plan: &AttentionPlan,
    layer: usize,
) -> Tensor<2> {
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
            let mask = group.masks[layer % group.masks.len()].clone();
            scored(q, k, v, mask, plan.cap).reshape([group.rows * plan.heads * group.queries, d])
        })
        .collect();
    let joined = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) };
    joined.select(0, plan.restore.clone()).reshape([tokens, plan.heads * d])
}

/// softmax(cap(q·kᵀ) + mask)·v over `[rows, key heads, queries or keys, d]`; the mask broadcasts over rows and heads.
fn scored(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Tensor<4>, cap: Option<f32>) -> Tensor<4> {
    let scores = capped(q.matmul(k.swap_dims(2, 3)), cap) + mask;
    activation::softmax(scores, 3).matmul(v)
}

/// c · tanh(x / c), if there is a cap; by the logistic function, since burn's gradient of tanh is wrong on wgpu.
pub(crate) fn capped<const D: usize>(x: Tensor<D>, cap: Option<f32>) -> Tensor<D> {
    match cap {
        Some(cap) => activation::sigmoid(x * (2.0 / cap)) * (2.0 * cap) - cap,
        None => x,
    }
}
