use serde::{Deserialize, Serialize};

use crate::train::Likelihood;

/// Which loss. With c and r the log-likelihoods of the chosen and the rejected answer, |c| and |r| their tokens, and Δ
/// a log-likelihood less that under the reference:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceMethod {
    /// −ln σ(β(Δc − Δr)) (Rafailov et al., arXiv 2305.18290).
    Dpo,
    /// (Δc/|c| − Δr/|r| − 1/2β)² (Azar et al., arXiv 2310.12036).
    Ipo,
    /// −c/|c| − β ln σ(log odds of c/|c| − those of r/|r|) (Hong et al., arXiv 2403.07691).
    Orpo,
    /// −ln σ(β(c/|c| − r/|r|) − γ) (Meng et al., arXiv 2405.14734).
    SimPo,
    /// 1 − σ(β(Δc − z)) for a desired answer, 1 − σ(β(z − Δr)) for another (Ethayarajh et al., arXiv 2402.01306).
    Kto,
}

impl PreferenceMethod {
    /// Whether it compares two answers to one question; otherwise each answer counts by itself.
    pub fn takes_pairs(self) -> bool {
        self != Self::Kto
    }

    /// Whether it measures likelihoods against those under a reference.
    pub fn needs_reference(self) -> bool {
        matches!(self, Self::Dpo | Self::Ipo | Self::Kto)
    }
}

/// A loss over likelihoods of answers, with its settings. Formulas and defaults are those of TRL's `DPOTrainer`,
/// `ORPOTrainer`, `CPOTrainer` (`SimPO`) and `KTOTrainer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreferenceLoss {
    /// Which.
    pub method: PreferenceMethod,
    /// β.
    pub beta: f64,
    /// γ of `SimPO`.
    pub gamma: f64,
    /// The probability that a pair is the wrong way round, for DPO and `SimPO`.
    pub label_smoothing: f64,
    /// How much −c/|c| is added to the loss of a pair.
    pub sft_weight: f64,
    /// How much desired answers count in KTO.
    pub desirable_weight: f64,
    /// How much the others count.
    pub undesirable_weight: f64,
}

/// An answer under the policy and under the reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) policy: Likelihood,
    /// ln p under the reference; 0 where there is none.
    pub(super) reference: f64,
}

impl Answer {
    /// ln p less that under the reference.
    fn ratio(self) -> f64 {
        self.policy.log_p - self.reference
    }

    fn tokens(self) -> f64 {
        self.policy.tokens as f64
    }
}

impl PreferenceLoss {
    /// The loss of a pair, and its slopes by ln p of the chosen and of the rejected answer.
    pub(super) fn of_pair(&self, chosen: Answer, rejected: Answer) -> (f64, [f64; 2]) {
        let (beta, lengths) = (self.beta, [chosen.tokens(), rejected.tokens()]);
        let means = [chosen.policy.mean(), rejected.policy.mean()];
        let (loss, mut slopes) = match self.method {
            PreferenceMethod::Dpo => {
                let (loss, slope) = self.smoothed(beta * (chosen.ratio() - rejected.ratio()));
                (loss, [slope * beta, -slope * beta])
            }
            PreferenceMethod::Ipo => {
                let off = chosen.ratio() / lengths[0] - rejected.ratio() / lengths[1] - 0.5 / beta;
                (off * off, [2.0 * off / lengths[0], -2.0 * off / lengths[1]])
            }
            PreferenceMethod::SimPo => {
                let (loss, slope) = self.smoothed(beta * (means[0] - means[1]) - self.gamma);
                (loss, [slope * beta / lengths[0], -slope * beta / lengths[1]])
            }
            PreferenceMethod::Orpo => {
                // An answer that is certain would have infinite odds.
                let [chosen, rejected] = means.map(|mean| mean.min(-1e-7));
                let log_odds = |mean: f64| mean - (-mean.exp_m1()).ln();
                let odds_ratio = log_odds(chosen) - log_odds(rejected);
                let slope = -beta * sigmoid(-odds_ratio);
                let by_mean = |mean: f64| -1.0 / mean.exp_m1();
                (
                    -means[0] - beta * log_sigmoid(odds_ratio),
                    [(slope * by_mean(chosen) - 1.0) / lengths[0], -slope * by_mean(rejected) / lengths[1]],
                )
            }
            PreferenceMethod::Kto => {
                unreachable!("invariant: a method that takes no pairs is not asked for the loss of one")
            }
        };
        slopes[0] -= self.sft_weight / lengths[0];
        (loss - self.sft_weight * means[0], slopes)
    }

    /// The loss of an answer by itself, given the divergence z of policy and reference, and its slope by ln p.
    pub(super) fn of_answer(&self, answer: Answer, desired: bool, divergence: f64) -> (f64, f64) {
        let (weight, sign) = if desired { (self.desirable_weight, 1.0) } else { (self.undesirable_weight, -1.0) };
        let value = sigmoid(sign * self.beta * (answer.ratio() - divergence));
        (weight * (1.0 - value), -weight * sign * self.beta * value * (1.0 - value))
    }

    /// What the loss likes to grow for a good answer: TRL's reward.
    pub(super) fn reward(&self, answer: Answer) -> f64 {
        self.beta * if self.method.needs_reference() { answer.ratio() } else { answer.policy.mean() }
    }

    /// −ln σ(x), with the other side by the share that is smoothed, and its slope.
    fn smoothed(&self, x: f64) -> (f64, f64) {
        let wrong = self.label_smoothing;
        let loss = -(1.0 - wrong) * log_sigmoid(x) - wrong * log_sigmoid(-x);
        (loss, wrong * sigmoid(x) - (1.0 - wrong) * sigmoid(-x))
    }
}

fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

/// ln σ(x) without overflow.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}
