use refit_engine::stage::{MemoryEstimate, Outlook, ParamProblem, StageError};
use refit_llm::{footprint::Subject, train::TrainConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::training::{Asked, LoraParams, ModelHeaders, OptimizerParams, memory};

/// Trains a LoRA adapter: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with W frozen. Settings have the names and meanings of PEFT and
/// transformers. The result depends on them, the model and the tokens alone: on a CPU it is the same bit for bit
/// whatever the number of threads, and however often the step was killed and resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainLoraParams {
    /// What the adapter is like.
    #[serde(flatten)]
    pub lora: LoraParams,
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

impl Default for TrainLoraParams {
    fn default() -> Self {
        Self { lora: LoraParams::default(), epochs: 3, learning_rate: 1e-4, optimizer: OptimizerParams::default() }
    }
}

impl TrainLoraParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        [self.optimizer.problems(), self.lora.problems()].concat()
    }

    /// How much memory the training needs at its peak.
    pub(super) fn memory(&self, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        let model = ModelHeaders::open(outlook, "model")?;
        let adapter = self.lora.config(&model.checkpoint.config().name);
        let asked = Asked {
            subject: Subject::Adapter { config: &adapter, copies: 0 },
            form: self.optimizer.weight_form(),
            config: &self.training(),
            dropout: self.lora.dropout,
            together: 1,
            all_answers: false,
            gradient_checkpointing: self.optimizer.gradient_checkpointing,
        };
        memory(outlook, &model, &asked)
    }

    /// The same as the training core takes it.
    pub(super) fn training(&self) -> TrainConfig {
        self.lora.refine(self.optimizer.config(self.epochs, self.learning_rate))
    }
}
