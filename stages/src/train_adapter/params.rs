use refit_engine::stage::{MemoryEstimate, Outlook, ParamProblem, StageError};
use refit_llm::{
    bottleneck::{self, BottleneckConfig, BottleneckKind, ReductionFactor},
    footprint::Subject,
    train::TrainConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::training::{Asked, ModelHeaders, OptimizerParams, hub_name, memory};

/// Trains a bottleneck adapter, small layers in a model that stays as it is: where a part of a block adds h to x, the block goes
/// on with x + h + s·(U·act(D·z + b) + c). Settings have the names and meanings of the `adapters` library, which loads the
/// result: `model.load_adapter(folder, use_safetensors=True)`. Biases do not decay. It cannot be merged into weights. The result
/// depends on the settings, the model and the tokens alone: on a CPU it is the same bit for bit whatever the number of threads, and however
/// often the step was killed and resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainAdapterParams {
    /// Where the layers are and what they read: `houlsby` (behind attention and feed-forward part, z = h; the library's
    /// `double_seq_bn`), `pfeiffer` (behind the feed-forward part, z = h + x; `seq_bn`), `parallel` (beside the feed-forward
    /// part, z = x; `par_bn`).
    pub kind: Kind,
    /// Width of the model over that of the bottleneck, as the library divides: rounded down, at least 1. Left out: 16, and 2 for
    /// `parallel`, as in the library.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub reduction_factor: Option<f64>,
    /// The width of the bottleneck itself, instead of `reduction_factor`.
    #[schemars(range(min = 1, max = 65_536))]
    pub bottleneck: Option<usize>,
    /// act: `relu`, `swish` (x · σ(x)), `gelu`, `gelu_new` (by tanh), `leakyrelu`, `tanh`. Left out: `swish` for `houlsby`, `relu`
    /// for the others.
    pub non_linearity: Option<NonLinearity>,
    /// s: what the layers add is multiplied by it. Left out: 1, and 4 for `parallel`.
    #[schemars(range(min = 0.000_001, max = 100_000.0))]
    pub scaling: Option<f64>,
    /// Probability of dropping an entry of what the layers add. Above 0, rows share no work, so that training takes longer.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f64,
    /// Blocks that get no such layers, counted from 0.
    pub leave_out: Vec<usize>,
    /// Adds noise to the embeddings in training, uniform in ±α/√(tokens of the row · width of the model) (NEFTune): 5 is
    /// usual, 0 adds none. Above 0, rows share no work, so that training takes longer.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub neftune_alpha: f64,
    /// The base model's name for those who load the adapter (`model_name`). Left out: the name in the model's own
    /// configuration, if it is one of the hub.
    pub base_model_name: Option<String>,
    /// Passes over the training rows.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u64,
    /// The highest learning rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// How it is trained.
    #[serde(flatten)]
    pub optimizer: OptimizerParams,
}

/// Where the layers are and what they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Behind both parts of a block.
    Houlsby,
    /// Behind the feed-forward part.
    Pfeiffer,
    /// Beside the feed-forward part.
    Parallel,
}

/// What the numbers in the bottleneck go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NonLinearity {
    /// max(x, 0).
    Relu,
    /// x · σ(x).
    Swish,
    /// x · Φ(x).
    Gelu,
    /// The same with Φ approximated by tanh.
    #[serde(rename = "gelu_new")]
    GeluNew,
    /// x above 0, and x/100 below.
    LeakyRelu,
    /// tanh x.
    Tanh,
}

impl Default for TrainAdapterParams {
    fn default() -> Self {
        Self {
            kind: Kind::Pfeiffer,
            reduction_factor: None,
            bottleneck: None,
            non_linearity: None,
            scaling: None,
            dropout: 0.0,
            leave_out: Vec::new(),
            neftune_alpha: 0.0,
            base_model_name: None,
            epochs: 3,
            learning_rate: 1e-4,
            optimizer: OptimizerParams::default(),
        }
    }
}

impl TrainAdapterParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.optimizer.problems();
        if self.reduction_factor.is_some() && self.bottleneck.is_some() {
            problems.push(
                ParamProblem::new("bottleneck", "`reduction_factor` already says how wide the bottleneck is")
                    .help("give one of the two"),
            );
        }
        problems
    }

    /// What the adapter is like, for a model of this name and width.
    pub(super) fn config(&self, model_name: &str, hidden: usize) -> BottleneckConfig {
        let known = BottleneckConfig::of(match self.kind {
            Kind::Houlsby => BottleneckKind::Houlsby,
            Kind::Pfeiffer => BottleneckKind::Pfeiffer,
            Kind::Parallel => BottleneckKind::Parallel,
        });
        let factor = self.reduction_factor.map(ReductionFactor::Every);
        let width = self.bottleneck.map(|width| ReductionFactor::for_width(width, hidden));
        BottleneckConfig {
            reduction_factor: width.or(factor).unwrap_or(known.reduction_factor),
            non_linearity: self.non_linearity.map_or(known.non_linearity, Into::into),
            scaling: self.scaling.unwrap_or(known.scaling),
            dropout: self.dropout,
            leave_out: self.left_out(),
            base_model: self.base_model_name.clone().or_else(|| hub_name(model_name)),
            ..known
        }
    }

    /// In order, each once.
    fn left_out(&self) -> Vec<usize> {
        let mut layers = self.leave_out.clone();
        layers.sort_unstable();
        layers.dedup();
        layers
    }

    /// How much memory the training needs at its peak.
    pub(super) fn memory(&self, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        let model = ModelHeaders::open(outlook, "model")?;
        let shape = model.checkpoint.config();
        let adapter = self.config(&shape.name, shape.hidden_size);
        let asked = Asked {
            subject: Subject::Bottleneck(&adapter),
            form: self.optimizer.weight_form(),
            config: &self.training(),
            dropout: self.dropout,
            together: 1,
            all_answers: false,
            gradient_checkpointing: self.optimizer.gradient_checkpointing,
        };
        memory(outlook, &model, &asked)
    }

    /// The same as the training core takes it.
    pub(super) fn training(&self) -> TrainConfig {
        let config = self.optimizer.config(self.epochs, self.learning_rate);
        TrainConfig { neftune_alpha: self.neftune_alpha, ..config }
    }
}

impl From<NonLinearity> for bottleneck::NonLinearity {
    fn from(act: NonLinearity) -> Self {
        match act {
            NonLinearity::Relu => Self::Relu,
            NonLinearity::Swish => Self::Swish,
            NonLinearity::Gelu => Self::Gelu,
            NonLinearity::GeluNew => Self::GeluNew,
            NonLinearity::LeakyRelu => Self::LeakyRelu,
            NonLinearity::Tanh => Self::Tanh,
        }
    }
}
