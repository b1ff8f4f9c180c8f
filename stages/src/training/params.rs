use refit_engine::stage::ParamProblem;
use refit_llm::{
    adapter::{LoraConfig, LoraInit, TargetModules},
    model::WeightForm,
    train::{self, TrainConfig},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::precision::{Precision, Quantization};

/// What a LoRA adapter is like: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with W frozen. Settings have the names and meanings of PEFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoraParams {
    /// Rank of the update. More can learn more, and costs little beside the model itself.
    #[schemars(range(min = 1, max = 1024))]
    pub rank: usize,
    /// α: the update is scaled by α / rank.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub alpha: f64,
    /// Probability of dropping an entry of LoRA's input. Above 0, rows share no work, so that training takes longer.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f64,
    /// Scales by α / √rank instead, which keeps high ranks stable (rsLoRA).
    pub rslora: bool,
    /// Learns the lengths of each weight's rows apart from their directions (DoRA): y = m/‖W + s·B·A‖ · (W + s·B·A)·x, row by
    /// row. Often better at low ranks, and slower. Excludes `dropout` and `init: pissa`.
    pub dora: bool,
    /// The update before the first step: `kaiming` and `gaussian` make A random and B zero, so that training starts from
    /// the model as it is. `pissa` starts from the largest singular values of each weight, which learns faster; the base
    /// keeps the rest while it is trained, and the adapter is written for the base as it was, with twice the rank.
    pub init: Init,
    /// The learning rate of B, and of DoRA's lengths, is so many times `learning_rate` (LoRA+). 16 is what its authors
    /// suggest.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub lora_plus_ratio: f64,
    /// Adds noise to the embeddings in training, uniform in ±α/√(tokens of the row · width of the model) (NEFTune): 5 is
    /// usual, 0 adds none. Above 0, rows share no work, so that training takes longer.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub neftune_alpha: f64,
    /// Which linear layers get the update: `all-linear`, a list of names such as `[q_proj, v_proj]`, or one regular
    /// expression that matches full names such as `model.layers.0.self_attn.q_proj`.
    pub target_modules: TargetNames,
    /// The base model's name for those who load the adapter (`base_model_name_or_path`). Left out: the name in the
    /// model's own configuration, if it is one of the hub.
    pub base_model_name: Option<String>,
}

/// How values are trained, beside learning rate and epochs. Settings have the names and meanings of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OptimizerParams {
    /// Ends after so many optimizer steps, whatever `epochs` says.
    #[schemars(range(min = 1))]
    pub max_steps: Option<u64>,
    /// Rows that go through the model together.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_size: usize,
    /// Batches that make one optimizer step. Targets count alike however rows are cut into batches: 8 × 1 is 1 × 8.
    #[schemars(range(min = 1, max = 65_536))]
    pub gradient_accumulation: usize,
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
    /// How exactly the model's own weights are kept and multiplied: `f32`, or `bf16`, which is up to twice as fast on
    /// processors with fast AVX512-BF16 (AMD's), AVX512-FP16 or AMX, takes half the memory on a GPU and on other
    /// processors, and changes the losses in their third digit. The adapter and its optimizer are always f32.
    pub precision: Precision,
    /// What becomes of a base whose weights are quantised (a GGUF file): `keep` leaves them in their blocks, which takes a
    /// fifth of the memory, and unpacks what a product meets (QLoRA); `unpack` makes floats of them when the model is read.
    /// In f32, results are the same bit for bit on a CPU. On a GPU the blocks stay packed too, in 4.5 to 9 bits a number; each
    /// layer of the model is unpacked for its turn and computed again on the way back, for about a third more time. `nf4` also brings the linear layers of a base in
    /// floats into NF4, in blocks of 64 as bitsandbytes does it, when the model is read: an eighth of the memory, and a base that
    /// is slightly another one.
    pub quantization: Quantization,
    /// Keeps of each block's forward pass only what went in, and computes the rest again on the way back: a fraction of the
    /// memory that a batch takes, for about a third more time, and on a CPU the same result bit for bit. It is in no key: a
    /// training that ran out of memory goes on from its checkpoint with it.
    pub gradient_checkpointing: bool,
    /// Decides the adapter's first values, the order of rows, dropout and noise.
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

/// `all-linear`, one regular expression, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetNames {
    /// `all-linear`, one name, or a regular expression over full names.
    One(String),
    /// Ends of full names.
    Many(Vec<String>),
}

/// What the update is before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// A uniform in ±1/√in, B zero.
    Kaiming,
    /// A normal with deviation 1/rank, B zero.
    Gaussian,
    /// The largest singular values of the weight.
    Pissa,
}

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls to zero on a line.
    Linear,
    /// Falls to zero on half a cosine.
    Cosine,
}

impl From<Schedule> for train::Schedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Constant => Self::Constant,
            Schedule::Linear => Self::Linear,
            Schedule::Cosine => Self::Cosine,
        }
    }
}

/// A model's name, if it can be loaded by it: one without an owner is the family's.
pub(crate) fn hub_name(model_name: &str) -> Option<String> {
    model_name.contains('/').then(|| model_name.to_owned())
}

/// How long the learning rate rises, of the two ways to say it.
pub(crate) fn warmup(steps: Option<u64>, ratio: Option<f64>) -> train::Warmup {
    match steps {
        Some(steps) => train::Warmup::Steps(steps),
        None => train::Warmup::Ratio(ratio.unwrap_or(0.0)),
    }
}

/// Refuses both ways at once.
pub(crate) fn warmup_problem(steps: Option<u64>, ratio: Option<f64>) -> Option<ParamProblem> {
    (steps.is_some() && ratio.is_some()).then(|| {
        ParamProblem::new("warmup_ratio", "`warmup_steps` already says how long the warm-up is")
            .help("give one of the two")
    })
}

impl Default for LoraParams {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            rslora: false,
            dora: false,
            init: Init::Kaiming,
            lora_plus_ratio: 1.0,
            neftune_alpha: 0.0,
            target_modules: TargetNames::One("all-linear".into()),
            base_model_name: None,
        }
    }
}

impl Default for OptimizerParams {
    fn default() -> Self {
        Self {
            max_steps: None,
            batch_size: 8,
            gradient_accumulation: 1,
            schedule: Schedule::Cosine,
            warmup_steps: None,
            warmup_ratio: None,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            precision: Precision::F32,
            quantization: Quantization::Keep,
            gradient_checkpointing: false,
            seed: 0,
            shuffle: true,
            evaluate_every: None,
            early_stopping_patience: None,
        }
    }
}

impl LoraParams {
    /// Mistakes the schema cannot express.
    pub(crate) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if let Err(error) = self.targets().check() {
            let mut problem = ParamProblem::new("target_modules", error.to_string());
            problem.help = error.help();
            problems.push(problem);
        }
        if self.dora && self.dropout > 0.0 {
            problems.push(
                ParamProblem::new(
                    "dora",
                    "with `dropout`, DoRA would multiply by every weight twice, which is not done",
                )
                .help("set `dropout` to 0, or leave `dora` out"),
            );
        }
        if self.dora && self.init == Init::Pissa {
            problems.push(
                ParamProblem::new("init", "`pissa` changes the weights whose rows `dora` takes the lengths of")
                    .help("leave out one of the two"),
            );
        }
        if matches!(&self.target_modules, TargetNames::Many(names) if names.is_empty()) {
            problems.push(
                ParamProblem::new("target_modules", "the list is empty, so nothing would be trained")
                    .help("leave it out to train every linear layer"),
            );
        }
        problems
    }

    fn targets(&self) -> TargetModules {
        match &self.target_modules {
            TargetNames::One(text) => text.clone().into(),
            TargetNames::Many(names) => TargetModules::Names(names.clone()),
        }
    }

    /// Adds what the optimizer has to know of it.
    pub(crate) fn refine(&self, config: TrainConfig) -> TrainConfig {
        TrainConfig { lora_plus_ratio: self.lora_plus_ratio, neftune_alpha: self.neftune_alpha, ..config }
    }

    /// The same as the training core takes it.
    pub(crate) fn config(&self, model_name: &str) -> LoraConfig {
        LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            rslora: self.rslora,
            dora: self.dora,
            init: match self.init {
                Init::Kaiming => LoraInit::Kaiming,
                Init::Gaussian => LoraInit::Gaussian,
                Init::Pissa => LoraInit::Pissa,
            },
            target_modules: self.targets(),
            base_model: self.base_model_name.clone().or_else(|| hub_name(model_name)),
        }
    }
}

impl OptimizerParams {
    /// Mistakes the schema cannot express.
    pub(crate) fn problems(&self) -> Vec<ParamProblem> {
        warmup_problem(self.warmup_steps, self.warmup_ratio).into_iter().collect()
    }

    /// How exactly weights are kept, as the training core takes it.
    pub(crate) fn precision(&self) -> refit_llm::Precision {
        self.precision.into()
    }

    /// The form of the frozen weights on a CPU.
    pub(crate) fn weight_form(&self) -> WeightForm {
        WeightForm { precision: self.precision(), tiles: true, quantization: self.quantization.into(), planes: false }
    }

    /// The same as the training core takes it.
    pub(crate) fn config(&self, epochs: u64, learning_rate: f64) -> TrainConfig {
        TrainConfig {
            epochs,
            max_steps: self.max_steps,
            batch_size: self.batch_size,
            accumulation: self.gradient_accumulation,
            learning_rate,
            schedule: self.schedule.into(),
            warmup: warmup(self.warmup_steps, self.warmup_ratio),
            weight_decay: self.weight_decay,
            betas: [self.beta1, self.beta2],
            epsilon: self.epsilon,
            max_grad_norm: self.max_grad_norm,
            seed: self.seed,
            shuffle: self.shuffle,
            evaluate_every: self.evaluate_every,
            early_stopping_patience: self.early_stopping_patience,
            ..TrainConfig::default()
        }
    }
}
