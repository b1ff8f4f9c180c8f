use serde::{Deserialize, Serialize};

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls to zero on a line.
    Linear,
    /// Falls to zero on half a cosine.
    #[default]
    Cosine,
}

/// How long the learning rate rises from zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// So many optimizer steps.
    Steps(u64),
    /// This share of all optimizer steps, rounded up.
    Ratio(f64),
}

/// Everything that decides the result of a training beside model, adapter and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Passes over the rows.
    pub epochs: u64,
    /// Stops after so many optimizer steps, within or beyond `epochs`.
    pub max_steps: Option<u64>,
    /// Rows that go through the model together.
    pub batch_size: usize,
    /// Batches whose gradients make one optimizer step.
    pub accumulation: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// How it rises.
    pub warmup: Warmup,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Global norm the gradient is clipped to; 0 leaves it.
    pub max_grad_norm: f64,
    /// Decides the order of rows, dropout and noise.
    pub seed: u64,
    /// LoRA+: the learning rate of B is this times that of A.
    pub lora_plus_ratio: f64,
    /// NEFTune: noise on the embeddings in training, uniform in ±α/√(tokens of the row · width); 0 for none.
    pub neftune_alpha: f64,
    /// A new order of rows each epoch; otherwise that of the file.
    pub shuffle: bool,
    /// Optimizer steps between validations; absent: at the end of each epoch.
    pub evaluate_every: Option<u64>,
    /// Stops after so many validations in a row that were no better.
    pub early_stopping_patience: Option<u64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            max_steps: None,
            batch_size: 8,
            accumulation: 1,
            learning_rate: 1e-4,
            schedule: Schedule::default(),
            warmup: Warmup::Ratio(0.0),
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            seed: 0,
            lora_plus_ratio: 1.0,
            neftune_alpha: 0.0,
            shuffle: true,
            evaluate_every: None,
            early_stopping_patience: None,
        }
    }
}

impl TrainConfig {
    /// Rows of one optimizer step.
    pub(crate) fn rows_per_step(&self) -> usize {
        self.batch_size * self.accumulation
    }

    /// Optimizer steps of one epoch; the last may have fewer rows.
    pub(crate) fn steps_per_epoch(&self, rows: usize) -> u64 {
        rows.div_ceil(self.rows_per_step()) as u64
    }

    /// Optimizer steps in all.
    pub fn total_steps(&self, rows: usize) -> u64 {
        self.max_steps.unwrap_or(self.epochs * self.steps_per_epoch(rows))
    }
}
