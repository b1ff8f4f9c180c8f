//! How much memory a training or an evaluation takes at its peak, from headers and lengths alone: no weight is read, nothing is computed.
//!
//! It counts what the fused pass of the CPU holds ([`crate::fused`]): weights in the form they are kept in, what each block
//! leaves for the way back, the buffers that all blocks use in turn, logits, and what is trained with its optimizer.

mod evaluation;
mod gpu;

use refit_checkpoint::{BlockFormat, Checkpoint, LinearModule, ModelConfig, NormPlace};
use refit_kernels::{Isa, Panels};

use crate::{
    LlmError, Precision,
    adapter::{LoraConfig, LoraInit},
    bottleneck::{BottleneckAdapter, BottleneckConfig},
    fused::targets_at_once,
    model::{Quantization, WeightForm},
    train::LargestPass,
    weights::{Selection, WeightPlace},
};

pub use evaluation::EvaluationSizes;
pub use gpu::GpuSizes;

const NUMBER: usize = size_of::<f32>();

/// Program, threads and their stacks, the history and its picture.
const PROGRAM: usize = 14 << 20;

/// What the drivers leave that were asked for a GPU.
const DRIVERS: usize = 66 << 20;

/// Of the tokenizer, for each entry of the vocabulary: its text, its merges and the tables that find them.
const TOKENIZER_ENTRY: usize = 600;

/// Tokens that lie beside each other are padded to a multiple of this, and so are sides of weights.
const PAD: usize = 16;

/// Columns of a weight in bf16 come in so many.
const PAIRS: usize = 32;

/// What is trained.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// An adapter; with a reference of its own, that as well.
    Adapter {
        /// What it is like.
        config: &'a LoraConfig,
        /// Copies of it that lie beside the one that is trained.
        copies: usize,
    },
    /// Layers of its own in the model.
    Bottleneck(&'a BottleneckConfig),
    /// Weights of the model itself.
    Weights(&'a Selection),
}

impl Subject<'_> {
    /// How many numbers are trained in this model.
    ///
    /// # Errors
    /// Target modules or weights that this model has not.
    pub fn values(&self, config: &ModelConfig) -> Result<usize, LlmError> {
        Ok(Trained::of(config, self)?.values)
    }
}

/// What a training is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSizes<'a> {
    /// What is trained.
    pub subject: Subject<'a>,
    /// The form of the frozen weights.
    pub form: WeightForm,
    /// The largest passes of the training.
    pub training: LargestPass,
    /// The largest of a validation, if there is one.
    pub validation: Option<LargestPass>,
    /// Whether blocks are computed again on the way back.
    pub gradient_checkpointing: bool,
    /// Whether entries are dropped in training.
    pub dropout: bool,
    /// Whether it computes on the CPU because no GPU was found.
    pub looks_for_gpu: bool,
}

/// Bytes that something takes at its peak, by what takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The program and the tokenizer; on a GPU, what pages leave empty.
    pub program: usize,
    /// Frozen weights.
    pub weights: usize,
    /// What passes leave for the way back, and their buffers.
    pub passes: usize,
    /// What is trained, its gradient and its optimizer.
    pub trained: usize,
    /// What reading the model takes beside the weights; it is given back before the rest is needed.
    loading: usize,
}

impl Footprint {
    /// All of it.
    pub fn bytes(&self) -> usize {
        self.program + self.weights + (self.passes + self.trained).max(self.loading)
    }

    /// Of training an adapter or weights of this model on a CPU.
    ///
    /// # Errors
    /// Target modules or weights that this model has not.
    pub fn of_training(checkpoint: &Checkpoint, sizes: &TrainingSizes<'_>) -> Result<Self, LlmError> {
        let config = checkpoint.config();
        let trained = Trained::of(config, &sizes.subject)?;
        let (weights, all, loading) = kept_weights(checkpoint, sizes.form, &trained);
        let drivers = if sizes.looks_for_gpu { DRIVERS } else { 0 };
        let pass = Pass { config, form: sizes.form, dropout: sizes.dropout, trained: &trained };
        let state = {
            // Values, their gradient and both moments; the best values.
            let best = usize::from(sizes.validation.is_some());
            let beside = match sizes.subject {
                Subject::Adapter { copies, .. } => 1 + copies,
                Subject::Bottleneck(_) | Subject::Weights(_) => 0,
            };
            trained.values * (4 + best + beside) * NUMBER
        };
        // Weights that are trained are read as the model's own first, and leave it once they have been copied.
        let loading = match sizes.subject {
            Subject::Adapter { .. } | Subject::Bottleneck(_) => loading,
            Subject::Weights(_) => (all - weights + loading).max(all - weights + trained.values * NUMBER),
        };
        Ok(Self {
            program: PROGRAM + drivers + TOKENIZER_ENTRY * config.vocab_size,
            weights,
            passes: pass.bytes(sizes),
            trained: state,
            loading,
        })
    }
}

/// What is trained, by size.
struct Trained {
    values: usize,
    rank: usize,
    dora: bool,
    /// The first block with something trained.
    lowest: Option<usize>,
    /// Of each block: the linear layers that are adapted.
    adapted: Vec<Vec<LinearModule>>,
    /// The matrices that are trained themselves.
    dense: Vec<WeightPlace>,
    /// Of each block: the widths of its bottlenecks.
    bottlenecks: Vec<Vec<usize>>,
    /// Matrices that are kept as floats whatever the form is: blocks cannot hold what a start off them leaves.
    unpacked: bool,
}

impl Trained {
    /// Nothing.
    fn nothing(config: &ModelConfig) -> Self {
        Self {
            values: 0,
            rank: 0,
            dora: false,
            lowest: None,
            adapted: vec![Vec::new(); config.layers],
            dense: Vec::new(),
            bottlenecks: vec![Vec::new(); config.layers],
            unpacked: false,
        }
    }

    fn of(config: &ModelConfig, subject: &Subject<'_>) -> Result<Self, LlmError> {
        let mut adapted = vec![Vec::new(); config.layers];
        let mut bottlenecks = vec![Vec::new(); config.layers];
        match subject {
            Subject::Adapter { config: lora, .. } => {
                let mut values = 0;
                for (layer, module) in lora.target_modules.resolve(config)? {
                    let [out, width] = config.linear_shape(module);
                    values += lora.rank * (out + width) + if lora.dora { out } else { 0 };
                    adapted[layer].push(module);
                }
                let lowest = adapted.iter().position(|modules| !modules.is_empty());
                let unpacked = lora.init == LoraInit::Pissa;
                let (rank, dora, dense) = (lora.rank, lora.dora, Vec::new());
                Ok(Self { values, rank, dora, lowest, adapted, dense, bottlenecks, unpacked })
            }
            Subject::Bottleneck(settings) => {
                let adapter = BottleneckAdapter::zeros((*settings).clone(), config)?;
                for module in adapter.modules() {
                    bottlenecks[module.down.layer].push(module.down.shape[0]);
                }
                let lowest = bottlenecks.iter().position(|widths| !widths.is_empty());
                let (values, dense) = (adapter.values.len(), Vec::new());
                Ok(Self { values, rank: 0, dora: false, lowest, adapted, dense, bottlenecks, unpacked: false })
            }
            Subject::Weights(selection) => {
                let tensors = selection.resolve(config)?;
                let lowest = tensors.iter().filter_map(|tensor| tensor.place.layer()).min();
                let dense = tensors.iter().map(|tensor| tensor.place).collect();
                let values = tensors.last().map_or(0, |tensor| tensor.range().end);
                Ok(Self { values, rank: 0, dora: false, lowest, adapted, dense, bottlenecks, unpacked: false })
            }
        }
    }
}

impl Trained {
    /// What adapted layers of a group leave for each token beside their input and output: what A makes of it, in `DoRA` their
    /// output, and what `dropped` says of an input of so many numbers.
    fn low(
        &self,
        config: &ModelConfig,
        layer: usize,
        group: fn(LinearModule) -> bool,
        dropped: impl Fn(usize) -> usize,
    ) -> usize {
        let adapted = self.adapted[layer].iter().filter(|module| group(**module));
        let each = adapted.map(|module| {
            let [out, width] = config.linear_shape(*module);
            self.rank + if self.dora { out } else { 0 } + dropped(width)
        });
        each.sum()
    }
}

/// Bytes of the frozen weights that stay, of all weights as they are read, and of what the reading of the largest of them takes
/// beside those that were read before.
fn kept_weights(checkpoint: &Checkpoint, form: WeightForm, trained: &Trained) -> (usize, usize, usize) {
    let config = checkpoint.config();
    let tables = WeightForm { quantization: form.quantization.of_tables(), ..form };
    // Of an embedding that is not the head as well, rows are read only.
    let table = if config.tied_head { tables } else { WeightForm { tiles: false, ..tables } };
    let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
    let embedding = format!("{}.weight", config.names.embedding);
    let mut matrices = vec![(embedding, [vocabulary, hidden], table, WeightPlace::Embedding)];
    for (layer, module) in config.linear_modules() {
        let name = format!("{}.weight", config.linear_path(layer, module));
        let unpacked = trained.unpacked && trained.adapted[layer].contains(&module);
        let form = if unpacked { WeightForm { quantization: Quantization::Unpack, ..form } } else { form };
        matrices.push((name, config.linear_shape(module), form, WeightPlace::Linear(layer, module)));
    }
    if !config.tied_head {
        let name = format!("{}.weight", config.names.head);
        matrices.push((name, [vocabulary, hidden], tables, WeightPlace::Head));
    }
    let (mut kept, mut all, mut peak) = (0, 0, 0);
    for (name, shape, form, place) in matrices {
        let stored = checkpoint.block_format_of(&name);
        let bytes = bytes_of(shape, stored, form);
        let numbers = shape[0] * shape[1];
        let (in_file, decoded) = match (stored, form.quantization) {
            (Some(format), Quantization::Keep | Quantization::Nf4) => (format.bytes_of(numbers).unwrap_or(0), 0),
            (Some(format), Quantization::Unpack) => (format.bytes_of(numbers).unwrap_or(0), numbers * NUMBER),
            (None, _) => (numbers * NUMBER, numbers * NUMBER),
        };
        peak = peak.max(all + bytes + in_file + decoded);
        all += bytes;
        kept += if trained.dense.contains(&place) { 0 } else { bytes };
    }
    (kept, all, peak.saturating_sub(all))
}

/// Bytes of one matrix as it is kept.
fn bytes_of([out, width]: [usize; 2], stored: Option<BlockFormat>, form: WeightForm) -> usize {
    let blocks = match (form.quantization, stored) {
        (Quantization::Keep | Quantization::Nf4, Some(format)) => Some(format),
        (Quantization::Nf4, None) => Some(BlockFormat::Nf4),
        _ => None,
    };
    match (blocks.and_then(|format| format.bytes_of(width)), form) {
        (Some(row), _) => out * row,
        (None, WeightForm { tiles: false, planes: true, precision: Precision::Bf16, .. }) => {
            out * width * size_of::<u16>()
        }
        (None, WeightForm { tiles: false, .. }) => out * width * NUMBER,
        (None, WeightForm { precision: Precision::F32, .. }) => padded(out) * padded(width) * NUMBER,
        // Each direction has its copy where instructions take pairs.
        (None, WeightForm { precision: Precision::Bf16, .. }) => {
            let in_pairs = |rows, columns: usize| padded(rows) * columns.next_multiple_of(PAIRS);
            let transposed = if Isa::best().has_pairs() { in_pairs(width, out) } else { 0 };
            (in_pairs(out, width) + transposed) * size_of::<u16>()
        }
    }
}

/// Passes through a model. Sizes are in numbers.
struct Pass<'a> {
    config: &'a ModelConfig,
    form: WeightForm,
    /// Whether entries are dropped in training.
    dropout: bool,
    trained: &'a Trained,
}

/// Linear layers that share their input.
const GROUPS: [fn(LinearModule) -> bool; 4] = [
    LinearModule::is_attention_input,
    |module| module == LinearModule::Output,
    LinearModule::is_feed_forward_input,
    |module| module == LinearModule::Down,
];

impl Pass<'_> {
    /// Bytes of those of a training.
    fn bytes(&self, sizes: &TrainingSizes<'_>) -> usize {
        let LargestPass { tokens, targets, seen } = sizes.training;
        let (tokens, kept) = (padded(tokens), padded(targets.min(tokens)));
        let validation = sizes.validation.unwrap_or_default();
        // A validation goes through the first tape and the buffers of the way there.
        let watched = padded(validation.tokens);
        let tapes = self.tapes(tokens, kept, sizes.gradient_checkpointing)
            + self.tape(0, watched, watched).saturating_sub(self.tape(0, tokens, tokens));
        let buffers = self.buffers(tokens).max(self.buffers_there(watched));
        let ends = 4 * self.config.hidden_size * kept.max(watched.min(padded(validation.targets))).max(tokens / 4);
        NUMBER
            * (tapes + buffers + self.attention(tokens, seen) + self.head(kept.max(padded(validation.targets))) + ends)
            + self.in_panels(tokens, kept)
    }

    /// What blocks leave for the way back.
    fn tapes(&self, tokens: usize, kept: usize, checkpointing: bool) -> usize {
        let (layers, input) = (self.config.layers, tokens * self.config.hidden_size);
        let last = self.tape(layers - 1, tokens, kept) + kept * self.attended();
        let whole = |layer: usize| if layer + 1 == layers { last } else { self.tape(layer, tokens, tokens) };
        let largest = |layers: std::ops::Range<usize>| layers.map(whole).max().unwrap_or(0);
        match self.trained.lowest {
            Some(_) if checkpointing => largest(0..layers) + layers * input,
            Some(lowest) => (lowest..layers).map(whole).sum::<usize>() + largest(0..lowest) + lowest * input,
            None => largest(0..layers) + layers * input,
        }
    }

    /// What one block leaves: before the attention of all tokens, after it of those that are kept.
    fn tape(&self, layer: usize, tokens: usize, kept: usize) -> usize {
        let config = self.config;
        let heads = config.heads + config.kv_heads;
        let of_heads = if config.norm(NormPlace::Queries).is_some() { heads * (config.head_dim + 1) } else { 0 };
        let normed = |place: NormPlace| if config.norm(place).is_some() { config.hidden_size + 1 } else { 0 };
        let [low_of_inputs, low_after @ ..] = GROUPS.map(|group| self.low(layer, group));
        let before = config.hidden_size + 1 + of_heads + self.qkv() + self.attended() + config.heads + low_of_inputs;
        let after = normed(NormPlace::AfterAttention)
            + config.hidden_size
            + 1
            + 2 * config.intermediate_size
            + normed(NormPlace::AfterFeedForward)
            + low_after.iter().sum::<usize>()
            + self.bottlenecks(layer);
        tokens * before + kept * after
    }

    /// What a projection leaves beside its input and output: s·A·x of its adapted layers, their outputs in `DoRA`, masks.
    fn low(&self, layer: usize, group: fn(LinearModule) -> bool) -> usize {
        // One bit for each number.
        let mask = |width: usize| if self.dropout { width.div_ceil(8 * NUMBER) } else { 0 };
        self.trained.low(self.config, layer, group, mask)
    }

    /// What the bottlenecks of a block leave: their inputs, what they make of them, masks.
    fn bottlenecks(&self, layer: usize) -> usize {
        let hidden = self.config.hidden_size;
        let mask = if self.dropout { hidden.div_ceil(8 * NUMBER) } else { 0 };
        self.trained.bottlenecks[layer].iter().map(|width| hidden + width + mask).sum()
    }

    /// The buffers that all blocks use in turn.
    fn buffers(&self, tokens: usize) -> usize {
        let ModelConfig { hidden_size: hidden, intermediate_size: wide, .. } = *self.config;
        let lows = |layer: usize| GROUPS.map(|group| self.adapted(layer, group) * self.trained.rank).into_iter().max();
        let low = (0..self.config.layers).filter_map(lows).max().unwrap_or(0);
        let of_heads = if self.config.norm(NormPlace::Queries).is_some() { self.qkv() } else { 0 };
        let after = self.config.norm(NormPlace::AfterFeedForward).map_or(0, |_| hidden);
        let widest = hidden.max(self.attended()).max(wide);
        let dropped = if self.dropout { widest } else { 0 };
        let by_token = if self.trained.dense.iter().any(|place| place.is_linear()) { widest } else { 0 };
        let plain = if self.trained.dora { self.qkv().max(2 * wide) } else { 0 };
        let each = 3 * hidden + wide + self.laid_out() + 2 * self.attended() + self.qkv() + of_heads + after;
        let bottleneck = self.trained.bottlenecks.iter().flatten().max().map_or(0, |width| {
            let high = if self.dropout { hidden } else { 0 };
            2 * width + 2 * hidden + high
        });
        tokens * (each + low + dropped + by_token + plain + bottleneck) + low * widest
    }

    /// Those of a pass without a way back.
    fn buffers_there(&self, tokens: usize) -> usize {
        tokens * (self.config.hidden_size + self.laid_out())
    }

    /// Features of the inputs that are laid out, since products take them so.
    fn laid_out(&self) -> usize {
        let trained = self.trained.dense.iter().any(|place| place.is_linear());
        if trained || Panels::takes_as_they_lie(Isa::best(), self.form.precision) { self.widest() } else { 0 }
    }

    /// What the attention's gradient is put together from.
    fn attention(&self, tokens: usize, seen: usize) -> usize {
        tokens * self.attended() + 2 * seen * self.config.kv_heads * self.config.head_dim
    }

    /// Logits of as many targets as are held at once, and their hidden states.
    fn head(&self, targets: usize) -> usize {
        let (hidden, vocabulary) = (self.config.hidden_size, self.config.vocab_size);
        let capped = self.config.logit_cap.map_or(0, |_| vocabulary);
        let by_token = if self.trained.dense.iter().any(|place| place.is_table()) { hidden } else { 0 };
        // A trained head whose rows are brought to length 1: these rows, and the gradient by them.
        let unit = if self.config.unit_head && self.trained.dense.contains(&WeightPlace::Head) { 2 } else { 0 };
        self.at_once(targets) * (vocabulary + capped + 2 * hidden + by_token) + unit * vocabulary * hidden
    }

    fn at_once(&self, targets: usize) -> usize {
        padded(targets_at_once(targets, self.config.vocab_size))
    }

    /// Bytes of what products of a training take in another form: their inputs, the gradients by their outputs, and that by the logits.
    fn in_panels(&self, tokens: usize, kept: usize) -> usize {
        let each = Panels::bytes_of_number(Isa::best(), self.form.precision);
        let panels = tokens * (2 * self.widest() + self.config.kv_heads * self.config.head_dim);
        each * (panels + self.at_once(kept) * self.config.vocab_size)
    }

    /// Features of the widest input of a product.
    fn widest(&self) -> usize {
        self.config.intermediate_size.max(self.config.hidden_size)
    }

    fn adapted(&self, layer: usize, group: fn(LinearModule) -> bool) -> usize {
        self.trained.adapted[layer].iter().filter(|module| group(**module)).count()
    }

    fn qkv(&self) -> usize {
        (self.config.heads + 2 * self.config.kv_heads) * self.config.head_dim
    }

    fn attended(&self) -> usize {
        self.config.heads * self.config.head_dim
    }
}

/// Whole tiles and lanes.
fn padded(count: usize) -> usize {
    count.next_multiple_of(PAD)
}
