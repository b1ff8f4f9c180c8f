use refit_checkpoint::FloatType;
use refit_engine::stage::{MemoryEstimate, Outlook, ParamProblem, StageError};
use refit_llm::{footprint::Subject, model::WeightForm, train::TrainConfig, weights::Selection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::training::{Asked, ModelHeaders, Schedule, memory, warmup, warmup_problem};

/// Trains weights of the model itself with AdamW in f32, which needs four times the memory of the trained weights. Settings
/// have the names and meanings of transformers; norms and biases do not decay. The result depends on the settings, the
/// model and the tokens alone: on a CPU it is the same bit for bit whatever the number of threads, and however often the
/// step was killed and resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainFullParams {
    /// Which weights are trained: `all`, or a list of regular expressions, each looked for anywhere in a weight's full name
    /// in Hugging Face's files: `[norm]`, `["layers\\.(28|29)\\.", lm_head]`.
    pub train: WeightNames,
    /// As what the numbers of the written model are stored: `f32`, or rounded to `bf16` or `f16`.
    pub stored_as: StoredAs,
    /// Passes over the training rows.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u64,
    /// Ends after so many optimizer steps, whatever `epochs` says.
    #[schemars(range(min = 1))]
    pub max_steps: Option<u64>,
    /// Rows that go through the model together.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_size: usize,
    /// Batches that make one optimizer step. Targets count alike however rows are cut into batches: 8 × 1 is 1 × 8.
    #[schemars(range(min = 1, max = 65_536))]
    pub gradient_accumulation: usize,
    /// The highest learning rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up: `constant`, or to zero by `linear` or `cosine`.
    pub schedule: Schedule,
    /// Optimizer steps in which the learning rate rises from zero. Excludes `warmup_ratio`.
    pub warmup_steps: Option<u64>,
    /// The same as a share of all steps.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: Option<f64>,
    /// AdamW's decoupled weight decay.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[schemars(range(min = 0.0, max = 0.999_999_9))]
    pub beta2: f64,
    /// AdamW's ε.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// The gradient is scaled down to this global norm; 0 leaves it as it is.
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// Adds noise to the embeddings in training, uniform in ±α/√(tokens of the row · width of the model) (NEFTune): 5 is
    /// usual, 0 adds none. Above 0, rows share no work, so that training takes longer.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub neftune_alpha: f64,
    /// Keeps of each block's forward pass only what went in, and computes the rest again on the way back: a fraction of the
    /// memory that a batch takes, for about a third more time, and the same result bit for bit. It is in no key: a training
    /// that ran out of memory goes on from its checkpoint with it. Only the CPU's fused kernels do it.
    pub gradient_checkpointing: bool,
    /// Decides the order of rows, and noise.
    pub seed: u64,
    /// A new random order of rows in each epoch. Otherwise they come in the order of the file.
    pub shuffle: bool,
    /// Optimizer steps between two computations of the validation loss. Left out: at the end of each epoch.
    #[schemars(range(min = 1))]
    pub evaluate_every: Option<u64>,
    /// Ends the training after so many validation losses in a row that were no lower than the lowest.
    #[schemars(range(min = 1))]
    pub early_stopping_patience: Option<u64>,
}

/// `all`, or regular expressions over full names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WeightNames {
    /// `all`.
    One(All),
    /// Expressions.
    Many(Vec<String>),
}

/// Every weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Every weight.
    All,
}

/// How exactly numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoredAs {
    /// As they were trained.
    F32,
    /// 8 binary digits.
    Bf16,
    /// 11 binary digits, up to 65504.
    F16,
}

impl Default for TrainFullParams {
    fn default() -> Self {
        Self {
            train: WeightNames::One(All::All),
            stored_as: StoredAs::F32,
            epochs: 3,
            max_steps: None,
            batch_size: 8,
            gradient_accumulation: 1,
            learning_rate: 2e-5,
            schedule: Schedule::Cosine,
            warmup_steps: None,
            warmup_ratio: None,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            neftune_alpha: 0.0,
            gradient_checkpointing: false,
            seed: 0,
            shuffle: true,
            evaluate_every: None,
            early_stopping_patience: None,
        }
    }
}

impl TrainFullParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems: Vec<_> = warmup_problem(self.warmup_steps, self.warmup_ratio).into_iter().collect();
        if matches!(&self.train, WeightNames::Many(patterns) if patterns.is_empty()) {
            problems.push(
                ParamProblem::new("train", "the list is empty, so nothing would be trained")
                    .help("leave it out to train every weight"),
            );
        }
        if let Err(error) = self.selection().check() {
            let mut problem = ParamProblem::new("train", error.to_string());
            problem.help = error.help();
            problems.push(problem);
        }
        problems
    }

    pub(super) fn selection(&self) -> Selection {
        match &self.train {
            WeightNames::One(All::All) => Selection::All,
            WeightNames::Many(patterns) => Selection::Matching(patterns.clone()),
        }
    }

    pub(super) fn stored(&self) -> FloatType {
        match self.stored_as {
            StoredAs::F32 => FloatType::F32,
            StoredAs::Bf16 => FloatType::Bf16,
            StoredAs::F16 => FloatType::F16,
        }
    }

    /// How much memory the training needs at its peak.
    pub(super) fn memory(&self, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        let model = ModelHeaders::open(outlook, "model")?;
        let asked = Asked {
            subject: Subject::Weights(&self.selection()),
            form: WeightForm { tiles: true, ..WeightForm::default() },
            config: &self.training(),
            dropout: 0.0,
            together: 1,
            all_answers: false,
            gradient_checkpointing: self.gradient_checkpointing,
        };
        memory(outlook, &model, &asked)
    }

    pub(super) fn training(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            max_steps: self.max_steps,
            batch_size: self.batch_size,
            accumulation: self.gradient_accumulation,
            learning_rate: self.learning_rate,
            schedule: self.schedule.into(),
            warmup: warmup(self.warmup_steps, self.warmup_ratio),
            weight_decay: self.weight_decay,
            betas: [self.beta1, self.beta2],
            epsilon: self.epsilon,
            max_grad_norm: self.max_grad_norm,
            seed: self.seed,
            lora_plus_ratio: 1.0,
            neftune_alpha: self.neftune_alpha,
            shuffle: self.shuffle,
            evaluate_every: self.evaluate_every,
            early_stopping_patience: self.early_stopping_patience,
        }
    }
}
