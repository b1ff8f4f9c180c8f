use serde::{Deserialize, Serialize};

use super::{PreferenceLoss, loss::Answer};
use crate::train::history::twelve_digits;

/// What a training on preferences is watched by, under the names that TRL logs. Absent where there was nothing to measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PreferenceMetrics {
    /// Mean reward of the desired answers of a step: β times what policy and reference differ by in ln p, or times ln p per
    /// token where there is no reference.
    #[serde(rename = "rewards/chosen", default, skip_serializing_if = "Option::is_none")]
    pub chosen_reward: Option<f64>,
    /// The same of the others.
    #[serde(rename = "rewards/rejected", default, skip_serializing_if = "Option::is_none")]
    pub rejected_reward: Option<f64>,
    /// The share of pairs whose chosen answer has the higher reward.
    #[serde(rename = "rewards/accuracies", default, skip_serializing_if = "Option::is_none")]
    pub accuracies: Option<f64>,
    /// The difference of the two rewards.
    #[serde(rename = "rewards/margins", default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<f64>,
    /// Mean ln p of the desired answers; per token where there is no reference.
    #[serde(rename = "logps/chosen", default, skip_serializing_if = "Option::is_none")]
    pub chosen_log_p: Option<f64>,
    /// The same of the others.
    #[serde(rename = "logps/rejected", default, skip_serializing_if = "Option::is_none")]
    pub rejected_log_p: Option<f64>,
    /// KTO's estimate of how far the policy is from its reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// `rewards/accuracies` over the validation pairs.
    #[serde(rename = "validation_accuracies", default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracies: Option<f64>,
}

impl PreferenceMetrics {
    /// Those of some answers, each with whether it is desired; of pairs the chosen and the rejected one in turn.
    pub(super) fn of(loss: &PreferenceLoss, answers: &[(Answer, bool)], divergence: Option<f64>) -> Self {
        let mean = |desired: bool, value: &dyn Fn(Answer) -> f64| {
            let values: Vec<f64> = answers.iter().filter(|(_, d)| *d == desired).map(|(a, _)| value(*a)).collect();
            (!values.is_empty()).then(|| twelve_digits(values.iter().sum::<f64>() / values.len() as f64))
        };
        let reward = |answer: Answer| loss.reward(answer);
        let log_p = |answer: Answer| {
            if loss.method.needs_reference() { answer.policy.log_p } else { answer.policy.mean() }
        };
        let (chosen, rejected) = (mean(true, &reward), mean(false, &reward));
        let pairs = answers.len() / 2;
        let right = answers.chunks_exact(2).filter(|pair| reward(pair[0].0) > reward(pair[1].0)).count();
        Self {
            chosen_reward: chosen,
            rejected_reward: rejected,
            accuracies: loss.method.takes_pairs().then(|| twelve_digits(right as f64 / pairs as f64)),
            margins: chosen.zip(rejected).map(|(chosen, rejected)| twelve_digits(chosen - rejected)),
            chosen_log_p: mean(true, &log_p),
            rejected_log_p: mean(false, &log_p),
            kl: divergence.map(twelve_digits),
            validation_accuracies: None,
        }
    }
}
