use refit_engine::stage::{MemoryEstimate, Outlook, ParamProblem, StageError};
use refit_llm::{
    adapter::LoraInit,
    footprint::Subject,
    train::{PreferenceLoss, PreferenceMethod, TrainConfig},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::training::{Asked, LoraParams, ModelHeaders, OptimizerParams, memory};

/// Trains a LoRA adapter on answers of which one is better. Losses, settings and what is logged are TRL's. Log-likelihoods are
/// sums over the answer's tokens; the reference is the same model with the adapter off, or with the adapter the training goes
/// on from, so that no second copy is in memory. What the result depends on is as in `train-lora`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainPreferenceParams {
    /// What is lowered. Over pairs: `dpo`; `ipo`, which aims at a margin instead of letting it grow; and two without a
    /// reference, `orpo`, which learns the chosen answers at the same time, and `simpo`, which compares log-likelihoods per
    /// token. Over answers with a label, or those of pairs by themselves: `kto`.
    pub loss: Loss,
    /// β: how strongly the loss reacts to a difference; with `ipo` it asks for a margin of 1/2β, with `orpo` it is the
    /// weight of the odds ratio.
    #[schemars(range(min = 0.0001, max = 1000.0))]
    pub beta: f64,
    /// γ, the margin that `simpo` asks for.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub gamma: f64,
    /// The share of pairs that are thought to be the wrong way round, for `dpo` and `simpo`.
    #[schemars(range(min = 0.0, max = 0.4999))]
    pub label_smoothing: f64,
    /// How much the loss of the chosen answer, −ln p per token, counts beside the preference, for `dpo`, `ipo` and `simpo`.
    /// Against log-likelihoods that fall for chosen and rejected answers alike.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub sft_weight: f64,
    /// How much desired answers count with `kto`. Where there are fewer of them, more than 1 makes up for it.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub desirable_weight: f64,
    /// The same for answers to be avoided.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub undesirable_weight: f64,
    /// What the adapter is like.
    #[serde(flatten)]
    pub lora: LoraParams,
    /// Passes over the training pairs.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u64,
    /// The highest learning rate. Preferences are learnt in smaller steps than answers.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// How it is trained.
    #[serde(flatten)]
    pub optimizer: OptimizerParams,
}

/// What is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Direct preference optimisation.
    Dpo,
    /// Identity preference optimisation.
    Ipo,
    /// Odds ratio preference optimisation.
    Orpo,
    /// Simple preference optimisation.
    SimPo,
    /// Kahneman-Tversky optimisation.
    Kto,
}

impl Default for TrainPreferenceParams {
    fn default() -> Self {
        Self {
            loss: Loss::Dpo,
            beta: 0.1,
            gamma: 0.5,
            label_smoothing: 0.0,
            sft_weight: 0.0,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            lora: LoraParams::default(),
            epochs: 3,
            learning_rate: 1e-5,
            optimizer: OptimizerParams::default(),
        }
    }
}

impl TrainPreferenceParams {
    /// Mistakes the schema cannot express.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = [self.optimizer.problems(), self.lora.problems()].concat();
        let mut unused = |parameter: &str, value: f64, losses: [Loss; 2]| {
            if value > 0.0 && losses.contains(&self.loss) {
                let message = format!("`loss: {}` has no use for it", name(self.loss));
                problems.push(ParamProblem::new(parameter, message).help("leave it out"));
            }
        };
        unused("label_smoothing", self.label_smoothing, [Loss::Ipo, Loss::Orpo]);
        unused("label_smoothing", self.label_smoothing, [Loss::Kto; 2]);
        unused("sft_weight", self.sft_weight, [Loss::Orpo, Loss::Kto]);
        if self.loss == Loss::Kto && self.optimizer.batch_size * self.optimizer.gradient_accumulation < 2 {
            let message =
                "`kto` needs more than one row in a step: it compares each answer with those to other questions";
            problems.push(ParamProblem::new("batch_size", message).help("give at least 2"));
        }
        problems
    }

    /// The loss as the training core takes it.
    pub(super) fn preference_loss(&self) -> PreferenceLoss {
        PreferenceLoss {
            method: match self.loss {
                Loss::Dpo => PreferenceMethod::Dpo,
                Loss::Ipo => PreferenceMethod::Ipo,
                Loss::Orpo => PreferenceMethod::Orpo,
                Loss::SimPo => PreferenceMethod::SimPo,
                Loss::Kto => PreferenceMethod::Kto,
            },
            beta: self.beta,
            gamma: self.gamma,
            label_smoothing: self.label_smoothing,
            sft_weight: self.sft_weight,
            desirable_weight: self.desirable_weight,
            undesirable_weight: self.undesirable_weight,
        }
    }

    /// How much memory the training needs at its peak.
    pub(super) fn memory(&self, outlook: &Outlook) -> Result<Option<MemoryEstimate>, StageError> {
        let model = ModelHeaders::open(outlook, "model")?;
        let adapter = self.lora.config(&model.checkpoint.config().name);
        // A reference of its own: of the training, of the validation, and what it is computed with.
        let own_reference = outlook.input("adapter").is_some() || adapter.init == LoraInit::Pissa;
        let asked = Asked {
            subject: Subject::Adapter { config: &adapter, copies: if own_reference { 3 } else { 0 } },
            form: self.optimizer.weight_form(),
            config: &self.training(),
            dropout: self.lora.dropout,
            together: if self.preference_loss().method.takes_pairs() { 2 } else { 1 },
            all_answers: true,
            gradient_checkpointing: self.optimizer.gradient_checkpointing,
        };
        memory(outlook, &model, &asked)
    }

    /// The optimizer's settings as the training core takes them.
    pub(super) fn training(&self) -> TrainConfig {
        self.lora.refine(self.optimizer.config(self.epochs, self.learning_rate))
    }
}

/// As it is written.
fn name(loss: Loss) -> &'static str {
    match loss {
        Loss::Dpo => "dpo",
        Loss::Ipo => "ipo",
        Loss::Orpo => "orpo",
        Loss::SimPo => "simpo",
        Loss::Kto => "kto",
    }
}
