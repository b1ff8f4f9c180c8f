use std::path::PathBuf;

use refit_checkpoint::{BlockFormat, CheckpointError};

/// Why a model could not be loaded, run or trained: what, where, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The model's files could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight has another shape than the configuration says.
    #[error("the weight `{name}` is {found:?}, but the configuration asks for {expected:?}")]
    WeightShape {
        /// Name of the tensor, as Hugging Face spells it.
        name: String,
        /// Rows and columns in the file.
        found: Vec<usize>,
        /// Rows and columns the configuration implies.
        expected: Vec<usize>,
    },
    /// A matrix has rows that cannot be brought into blocks.
    #[error("rows of {width} numbers in the weight `{name}` do not fill blocks of {} ({format})", .format.values())]
    NotInBlocks {
        /// Name of the tensor, as Hugging Face spells it.
        name: String,
        /// Numbers in a row.
        width: usize,
        /// The blocks.
        format: BlockFormat,
    },
    /// A token id is outside of the vocabulary.
    #[error("row {row} holds the token {token}, but the model knows only tokens below {vocabulary}")]
    TokenOutOfRange {
        /// Index of the row, from 0.
        row: usize,
        /// The token id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A row is longer than the positions the model was trained for.
    #[error("row {row} has {length} tokens, but the model has only {limit} positions")]
    RowTooLong {
        /// Index of the row, from 0.
        row: usize,
        /// Tokens of the row.
        length: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// A prompt has no token.
    #[error("row {row} has an empty prompt")]
    EmptyPrompt {
        /// Index of the row, from 0.
        row: usize,
    },
    /// A prompt leaves no room for an answer.
    #[error(
        "the prompt of row {row} has {prompt} tokens; with an answer of up to {longest} that is more than the model's {limit} positions"
    )]
    PromptTooLong {
        /// Index of the row, from 0.
        row: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens an answer may have.
        longest: usize,
        /// Positions of the model.
        limit: usize,
    },
    /// A row has no token to learn from.
    #[error("row {row} has no supervised token")]
    NothingSupervised {
        /// Index of the row, from 0.
        row: usize,
    },
    /// The training set is empty.
    #[error("there is no row to train on")]
    NoRows,
    /// A loss over pairs got rows that are none.
    #[error("the rows are not pairs of a chosen and a rejected answer")]
    NotPairs,
    /// An adapter's files cannot be used.
    #[error("the adapter file {} cannot be used: {reason}", .path.display())]
    AdapterFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An adapter uses a method that is not implemented.
    #[error("the adapter uses `{feature}`, which refit cannot apply")]
    UnsupportedAdapter {
        /// The key in `adapter_config.json` and its value.
        feature: String,
    },
    /// An adapter was made for another model.
    #[error("the adapter does not fit the model: {reason}")]
    AdapterMismatch {
        /// Which tensor, and how.
        reason: String,
    },
    /// A bottleneck adapter where LoRA is needed.
    #[error(
        "the adapter is a bottleneck adapter: layers of its own, which can neither be merged into weights nor written as LoRA"
    )]
    NotLora,
    /// A bottleneck adapter for blocks of another shape than the `adapters` library defines.
    #[error(
        "`{family}` norms what the parts of its blocks add, and bottleneck adapters are not defined for such blocks"
    )]
    NoBottleneck {
        /// The model's family.
        family: String,
        /// The families that can have one.
        supported: String,
    },
    /// `leave_out` names a block that the model has not.
    #[error("`leave_out` names layer {layer}, and the model has layers 0 to {}", .layers - 1)]
    NoSuchLayer {
        /// The block.
        layer: usize,
        /// Blocks of the model.
        layers: usize,
    },
    /// An adapter without any layer.
    #[error("the adapter has no layer in any block of the model")]
    NothingAdapted,
    /// An adapter's values are in a file that runs code when it is read.
    #[error("the adapter's values are in {}, which is a Python pickle", .path.display())]
    PickledAdapter {
        /// The file.
        path: PathBuf,
    },
    /// `target_modules` names nothing in the model.
    #[error("no linear layer of the model matches target_modules {patterns}")]
    NoTarget {
        /// As given.
        patterns: String,
        /// The linear layers that the model has.
        names: String,
    },
    /// `target_modules` is not a valid regular expression.
    #[error("target_modules `{pattern}` is not a valid regular expression: {reason}")]
    BadTargetPattern {
        /// As given.
        pattern: String,
        /// What the parser says.
        reason: String,
    },
    /// An expression that chooses weights is not valid.
    #[error("`{pattern}` is not a valid regular expression: {reason}")]
    BadWeightPattern {
        /// As given.
        pattern: String,
        /// What the parser says.
        reason: String,
    },
    /// An expression chooses no weight.
    #[error("no weight of the model matches `{pattern}`")]
    NoWeight {
        /// As given.
        pattern: String,
    },
    /// A chosen weight cannot be trained towards such a loss.
    #[error(
        "the weight `{name}` cannot be trained towards a loss over whole answers: the gradient by the head is that of tokens"
    )]
    UntrainableWeight {
        /// Its full name.
        name: String,
    },
    /// The loss or the gradient became NaN or infinite.
    #[error("the {quantity} became {value} at step {step}{}", first_bad.as_ref().map(|place| format!("; the first value that is not finite comes out of {place}")).unwrap_or_default())]
    NotFinite {
        /// `loss` or `gradient norm`.
        quantity: &'static str,
        /// The value.
        value: f64,
        /// Optimizer step, from 1.
        step: u64,
        /// The first layer whose output is not finite, if one was found.
        first_bad: Option<String>,
        /// Whether a GPU computed it, several operations by one kernel.
        fusing: bool,
    },
    /// A device computes other numbers than the CPU.
    #[error("the device computes wrongly: {reason}")]
    Miscomputes {
        /// What, and by how much.
        reason: String,
        /// Whether it did several operations by one kernel.
        fusing: bool,
    },
    /// A weight needs a larger buffer than the device has.
    #[error("the weight `{name}` takes {} MiB in one buffer, and the device has none above {} MiB", mib(*.bytes), *.limit >> 20)]
    WeightTooLarge {
        /// Name of the tensor, as Hugging Face spells it.
        name: String,
        /// Bytes it takes as f32.
        bytes: usize,
        /// Bytes of the device's largest buffer.
        limit: usize,
    },
    /// Rows that have to go through the model together need a larger buffer than the device has.
    #[error("{what} take {} MiB in one buffer, and the device has none above {} MiB", mib(*.bytes), *.limit >> 20)]
    PassTooLarge {
        /// What would be that large, and of how many tokens.
        what: String,
        /// Bytes it would take.
        bytes: usize,
        /// Bytes of the device's largest buffer.
        limit: usize,
    },
    /// A device has no room for what was to be computed.
    #[error("the device has no memory left: {reason}")]
    DeviceMemory {
        /// What it said.
        reason: String,
    },
    /// The device failed.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The picture of the loss curve could not be drawn.
    #[error("the loss curve could not be drawn: {0}")]
    Plot(String),
}

/// Some drivers' compilers get kernels wrong that do several operations.
const WITHOUT_FUSION: &str =
    "run again with `--no-fusion`, which gives each operation a kernel of its own: drivers may compile others wrongly";

impl LlmError {
    /// What a device said when it was asked for results.
    pub(crate) fn of_device(said: &dyn std::fmt::Debug) -> Self {
        let reason = format!("{said:?}");
        // There is no type for it that comes through all layers.
        let lacks_memory =
            ["BufferTooBig", "OutOfMemory", "PageSizesExhausted"].iter().any(|name| reason.contains(name));
        if lacks_memory { Self::DeviceMemory { reason } } else { Self::Device { reason } }
    }

    /// A stable code for people and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Checkpoint(error) => error.code(),
            Self::WeightShape { .. } => "model::weight_shape",
            Self::NotInBlocks { .. } => "model::not_in_blocks",
            Self::TokenOutOfRange { .. } => "train::token_out_of_range",
            Self::RowTooLong { .. } => "train::row_too_long",
            Self::EmptyPrompt { .. } => "generate::empty_prompt",
            Self::PromptTooLong { .. } => "generate::prompt_too_long",
            Self::NothingSupervised { .. } => "train::nothing_supervised",
            Self::NoRows => "train::no_rows",
            Self::NotPairs => "train::not_pairs",
            Self::AdapterFile { .. } => "adapter::unreadable",
            Self::UnsupportedAdapter { .. } => "adapter::unsupported",
            Self::AdapterMismatch { .. } => "adapter::mismatch",
            Self::NotLora => "adapter::not_lora",
            Self::NoBottleneck { .. } => "adapter::no_bottleneck",
            Self::NoSuchLayer { .. } => "adapter::no_such_layer",
            Self::NothingAdapted => "adapter::nothing_adapted",
            Self::PickledAdapter { .. } => "adapter::pickled",
            Self::NoTarget { .. } => "adapter::no_target",
            Self::BadTargetPattern { .. } => "adapter::bad_target_pattern",
            Self::BadWeightPattern { .. } => "train::bad_weight_pattern",
            Self::NoWeight { .. } => "train::no_weight",
            Self::UntrainableWeight { .. } => "train::untrainable_weight",
            Self::NotFinite { .. } => "train::not_finite",
            Self::WeightTooLarge { .. } => "device::weight_too_large",
            Self::PassTooLarge { .. } => "device::pass_too_large",
            Self::Miscomputes { .. } => "device::miscomputes",
            Self::DeviceMemory { .. } => "device::out_of_memory",
            Self::Device { .. } => "device::failed",
            Self::Io(_) => "io::failed",
            Self::Plot(_) => "train::plot",
        }
    }

    /// Index of the row it is about, from 0, if it is about one.
    pub fn row(&self) -> Option<usize> {
        match self {
            Self::TokenOutOfRange { row, .. }
            | Self::RowTooLong { row, .. }
            | Self::EmptyPrompt { row }
            | Self::PromptTooLong { row, .. }
            | Self::NothingSupervised { row } => Some(*row),
            _ => None,
        }
    }

    /// The way out, where there is one.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Checkpoint(error) => return error.help().map(str::to_owned),
            Self::WeightShape { .. } => {
                "the configuration and the weights come from different models; fetch both again".into()
            }
            Self::NotInBlocks { .. } => "leave the model in floats: `quantization: unpack`".into(),
            Self::TokenOutOfRange { .. } => {
                "the tokens were made with another model's tokenizer; wire the same model to `tokenize` and here".into()
            }
            Self::RowTooLong { limit, .. } => format!("set `max_length` of the `tokenize` stage to {limit} or less"),
            Self::EmptyPrompt { .. } => "give every row a question".into(),
            Self::PromptTooLong { .. } => "shorten the question, or set a smaller `max_new_tokens`".into(),
            Self::NothingSupervised { .. } => "the `tokenize` stage refuses such rows; make the tokens with it".into(),
            Self::NoRows => "look at the reports of the stages before: every row was dropped".into(),
            Self::NotPairs => {
                "give every row a `rejected` answer, or use `loss: kto`, which takes answers by themselves".into()
            }
            Self::AdapterFile { .. } => {
                "an adapter is a folder with adapter_config.json and adapter_model.safetensors as PEFT writes them, or adapter.safetensors as the `adapters` library does"
                    .into()
            }
            Self::UnsupportedAdapter { .. } => {
                "LoRA, rsLoRA, DoRA and plain bottleneck adapters are supported; merge others into the base with PEFT first".into()
            }
            Self::NotLora => {
                "keep it beside its base: `evaluate` applies it as it is, and so does `model.load_adapter(folder, use_safetensors=True)` of the `adapters` library; what is to be merged or exported is trained with `train-lora`".into()
            }
            Self::NoBottleneck { supported, .. } => format!("families that can have one are {supported}; `train-lora` trains every family"),
            Self::NoSuchLayer { .. } => "layers count from 0".into(),
            Self::NothingAdapted => "`leave_out` has to leave one in".into(),
            Self::PickledAdapter { .. } => {
                "save it again in Python: `model.save_adapter(folder, name, use_safetensors=True)`".into()
            }
            Self::AdapterMismatch { .. } => "use the base model the adapter was trained on".into(),
            Self::NoTarget { names, .. } => format!(
                "use `all-linear`, or names out of {names}, or a regular expression over full names such as `model.layers.0.self_attn.q_proj`"
            ),
            Self::BadTargetPattern { .. } => {
                "a string is matched as one regular expression against full names; give a list for plain names".into()
            }
            Self::BadWeightPattern { .. } => "each entry of `train` is a regular expression, looked for anywhere in a weight's full name".into(),
            Self::UntrainableWeight { .. } => {
                "choose others with `train`: `[_proj, layernorm]` leaves out the head, and the embedding that may be the head".into()
            }
            Self::NoWeight { .. } => {
                "names are those of Hugging Face's files, such as `model.layers.0.self_attn.q_proj.weight` or `model.norm.weight`".into()
            }
            Self::NotFinite { fusing, .. } => {
                let or_else = if *fusing { format!("; if it is the GPU, {WITHOUT_FUSION}") } else { String::new() };
                format!("use a lower learning_rate (a tenth of it is a good try), more warm-up, or a smaller max_grad_norm{or_else}")
            }
            Self::WeightTooLarge { .. } => {
                "embedding and head are cut up for the device, other weights are not; run again with `--device cpu`, which has no such limit, or on an adapter with larger buffers".into()
            }
            Self::PassTooLarge { .. } => {
                "set a smaller `max_length` of the `tokenize` stage, or run again with `--device cpu`, which has no such limit".into()
            }
            Self::Miscomputes { fusing: true, .. } => format!("{WITHOUT_FUSION}; else run again with `--device cpu`"),
            Self::Miscomputes { .. } | Self::Device { .. } => "run again with `--device cpu`".into(),
            Self::DeviceMemory { .. } => {
                "a smaller `batch_size` or `max_length`, `gradient_checkpointing: true` and a base in blocks (`quantization`) need less; \
                 or run again with `--device cpu`".into()
            }
            Self::Io(_) | Self::Plot(_) => return None,
        })
    }
}

/// Rounded up, as a limit is rounded down, so that what is too large never reads as what would fit.
fn mib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 20)
}
