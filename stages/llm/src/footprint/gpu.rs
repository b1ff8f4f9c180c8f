//! What a training takes of a GPU's memory: the same question as on a CPU, for the composed operations.
//!
//! There, most is what burn's operations keep for the way back. An operation keeps those of its inputs that its gradient is made
//! of: a product with a frozen matrix nothing, one with a trained matrix its other side, `exp` and `sigmoid` what they were
//! given, a quotient both sides. What two operations keep is counted once. Tensors lie in pages, the last of which is partly empty.

use refit_checkpoint::{Activation, Checkpoint, ModelConfig, NormPlace};

use super::{Footprint, GROUPS, NUMBER, Subject, Trained, kept_weights};
use crate::{
    LlmError, Precision,
    model::{LOGITS_AT_ONCE, LinearModule, PaddedBatch, PaddedGroup, Quantization, WeightForm},
    train::PaddedPasses,
    weights::WeightPlace,
};

/// The runtime puts tensors into pages as large as the largest of them and this.
const PAGE_SLACK: usize = 1 << 20;

/// It has a page of this size for small ones.
const SMALL_PAGE: usize = 8 << 20;

/// Numbers of the largest shard of a table, on an adapter that takes buffers of 128 MiB; on others they may be larger.
const LARGEST_SHARD: usize = 1 << 25;

/// What a training on a GPU is asked to do.
#[derive(Debug, Clone)]
pub struct GpuSizes<'a> {
    /// What is trained.
    pub subject: Subject<'a>,
    /// The form of the frozen weights.
    pub form: WeightForm,
    /// The passes of the training.
    pub passes: &'a PaddedPasses,
    /// Whether blocks are computed again on the way back.
    pub gradient_checkpointing: bool,
    /// Whether entries are dropped in training.
    pub dropout: bool,
}

impl Footprint {
    /// Of training an adapter or weights of this model on a GPU: what it takes of the GPU's memory.
    ///
    /// # Errors
    /// Target modules or weights that this model has not.
    pub fn on_gpu(checkpoint: &Checkpoint, sizes: &GpuSizes<'_>) -> Result<Self, LlmError> {
        let config = checkpoint.config();
        let trained = Trained::of(config, &sizes.subject)?;
        let form = WeightForm { tiles: false, planes: true, ..sizes.form };
        let (weights, ..) = kept_weights(checkpoint, form, &trained);
        let in_blocks = config.linear_modules().any(|(layer, module)| {
            checkpoint.block_format_of(&format!("{}.weight", config.linear_path(layer, module))).is_some()
        });
        let unpacks = match form.quantization {
            Quantization::Unpack => form.precision == Precision::Bf16,
            Quantization::Keep => in_blocks || form.precision == Precision::Bf16,
            Quantization::Nf4 => true,
        };
        Ok(Self::of_parts(config, &trained, sizes, weights, unpacks))
    }

    fn of_parts(config: &ModelConfig, trained: &Trained, sizes: &GpuSizes<'_>, weights: usize, unpacks: bool) -> Self {
        let pass = GpuPass { config, trained, sizes, unpacks };
        let most = |of: &dyn Fn(&PaddedBatch) -> usize| sizes.passes.each().map(of).max().unwrap_or(0) * NUMBER;
        let passes = most(&|batch| pass.peak(batch));
        // The values and their gradient; the optimizer is on the host.
        let trained = 2 * trained.values * NUMBER;
        let page = most(&|batch| pass.largest(batch)) + PAGE_SLACK;
        let all = weights + passes + trained;
        Self { program: SMALL_PAGE + all.next_multiple_of(page) - all, weights, passes, trained, loading: 0 }
    }
}

/// Passes through a model by composed operations. Sizes are in numbers.
struct GpuPass<'a> {
    config: &'a ModelConfig,
    trained: &'a Trained,
    sizes: &'a GpuSizes<'a>,
    /// Whether weights are unpacked for each use.
    unpacks: bool,
}

impl GpuPass<'_> {
    /// The most that is there at one time.
    fn peak(&self, batch: &PaddedBatch) -> usize {
        let layers = self.config.layers;
        let lowest = self.trained.lowest.unwrap_or(layers);
        let kept = |layer: usize| if layer + 1 == layers && !self.sizes.dropout { batch.targets } else { batch.tokens };
        let saved = |layer: usize| self.saved(layer, batch, kept(layer));
        let inputs = batch.tokens * self.config.hidden_size;
        let held = if self.unpacks || self.sizes.gradient_checkpointing {
            layers * inputs + (lowest..layers).map(saved).max().unwrap_or(0) + self.unpacked()
        } else {
            (lowest..layers).map(saved).sum::<usize>()
        };
        // Gradients by gate and up, while a block is gone through backward.
        let way_back = 2 * batch.tokens * self.config.intermediate_size;
        held + self.head(batch.targets).max(way_back) + self.tables(batch)
    }

    /// The largest tensor.
    fn largest(&self, batch: &PaddedBatch) -> usize {
        let config = self.config;
        let linears = config.linears.iter().map(|linear| config.linear_shape(linear.module));
        let widest = linears.clone().flatten().max().unwrap_or(0);
        let scores = batch.groups.iter().map(|group| self.scores(group)).max().unwrap_or(0);
        let matrices = linears.map(|[out, width]| out * width).max().unwrap_or(0);
        let table = (config.vocab_size * config.hidden_size).min(LARGEST_SHARD);
        let logits = self.at_once(batch.targets) * config.vocab_size;
        [batch.tokens * widest, scores, matrices, table, logits].into_iter().max().unwrap_or(0)
    }

    /// What a block keeps for the way back; after the attention of `kept` tokens.
    fn saved(&self, layer: usize, batch: &PaddedBatch, kept: usize) -> usize {
        let config = self.config;
        let (tokens, hidden, wide) = (batch.tokens, config.hidden_size, config.intermediate_size);
        let trained = |group: usize| self.trains(layer, GROUPS[group]);
        let tracked = usize::from(layer > self.trained.lowest.unwrap_or(0));
        let trained_norm = |place| usize::from(self.trained.dense.contains(&WeightPlace::Norm(layer, place))) * hidden;
        let normed = |place: NormPlace| if config.norm(place).is_some() { hidden + 3 + trained_norm(place) } else { 0 };
        let before = tracked * normed(NormPlace::BeforeAttention) + trained(0) * hidden + self.low(layer, GROUPS[0]);
        let of_heads = if config.norm(NormPlace::Queries).is_some() {
            (config.heads + config.kv_heads) * (config.head_dim + 3)
        } else {
            0
        };
        let activated = match config.activation {
            Activation::Silu => 4,
            Activation::GeluTanh => 8,
        };
        let after = trained(1) * self.attended()
            + normed(NormPlace::AfterAttention)
            + normed(NormPlace::BeforeFeedForward)
            + trained(2) * hidden
            + activated * wide
            + trained(3) * wide
            + normed(NormPlace::AfterFeedForward)
            + GROUPS[1..].iter().map(|group| self.low(layer, *group)).sum::<usize>()
            + self.bottlenecks(layer);
        tokens * (before + of_heads)
            + kept * after
            + batch.groups.iter().map(|group| self.attention(group)).sum::<usize>()
    }

    /// What the bottlenecks of a block keep: their inputs, and what they make of them.
    fn bottlenecks(&self, layer: usize) -> usize {
        let mask = usize::from(self.sizes.dropout);
        self.trained.bottlenecks[layer].iter().map(|width| (1 + mask) * self.config.hidden_size + 4 * width).sum()
    }

    /// What the attention of some rows keeps: queries, keys and values, and three times the scores.
    fn attention(&self, group: &PaddedGroup) -> usize {
        let PaddedGroup { rows, before, queries } = *group;
        let (keys, scores) = (before + queries, self.scores(group));
        let capped = if self.config.attention.cap.is_some() { scores } else { 0 };
        rows * self.config.head_dim * (self.config.heads * queries + 2 * self.config.kv_heads * keys)
            + 3 * scores
            + capped
    }

    /// 1 if some layer of a group is trained.
    fn trains(&self, layer: usize, group: fn(LinearModule) -> bool) -> usize {
        let adapted = self.trained.adapted[layer].iter().any(|module| group(*module));
        let dense = self
            .trained
            .dense
            .iter()
            .any(|place| matches!(place, WeightPlace::Linear(of, module) if *of == layer && group(*module)));
        usize::from(adapted || dense)
    }

    /// What adapted layers keep beside their input; where entries of it are dropped, the mask and what is left of it.
    fn low(&self, layer: usize, group: fn(LinearModule) -> bool) -> usize {
        let dropped = |width: usize| if self.sizes.dropout { 2 * width } else { 0 };
        self.trained.low(self.config, layer, group, dropped)
    }

    /// The weights of a block, unpacked, which its products keep until its way back.
    fn unpacked(&self) -> usize {
        let of_first = self.config.linear_modules().filter(|(layer, _)| *layer == 0);
        let numbers = of_first.map(|(_, module)| self.config.linear_shape(module).iter().product::<usize>());
        if self.unpacks { numbers.sum() } else { 0 }
    }

    fn scores(&self, PaddedGroup { rows, before, queries }: &PaddedGroup) -> usize {
        rows * self.config.heads * queries * (before + queries)
    }

    /// Logits of as many targets as are held at once, and what makes a gradient of them.
    fn head(&self, targets: usize) -> usize {
        3 * self.at_once(targets) * self.config.vocab_size
    }

    fn at_once(&self, targets: usize) -> usize {
        targets.min((LOGITS_AT_ONCE / self.config.vocab_size).max(1))
    }

    /// Angles and masks.
    fn tables(&self, batch: &PaddedBatch) -> usize {
        let masks = batch
            .groups
            .iter()
            .map(|group| group.queries * (group.before + group.queries) * self.config.heads / self.config.kv_heads);
        4 * batch.tokens * self.config.head_dim + masks.sum::<usize>()
    }

    fn attended(&self) -> usize {
        self.config.heads * self.config.head_dim
    }
}
