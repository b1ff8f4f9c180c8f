use super::{
    Trainable,
    gradient::{NamedRow, Passed, Weights},
    preference::{Preference, PreferenceMetrics, PreferenceStep},
    validation::validate,
    workers::Workers,
};
use crate::{LlmError, Model, model::Rows};

/// What a training lowers, and over which rows.
///
/// The gradient of every one of these losses is a sum over rows: what the loss changes with the row's log-likelihood, times
/// the gradient of that. So a pass goes forward once, the objective turns likelihoods into weights, and the pass goes
/// backward with them.
#[derive(Clone, Copy)]
pub enum Objective<'a> {
    /// The mean of −ln p over the targets of all rows.
    CrossEntropy(&'a dyn Rows),
    /// A loss over better and worse answers.
    Preference(&'a Preference<'a>),
}

/// What an objective keeps of an optimizer step before its gradient is computed.
pub(crate) enum ObjectiveStep<'a> {
    CrossEntropy { supervised: usize },
    Preference(PreferenceStep<'a>),
}

impl<'a> Objective<'a> {
    /// All rows.
    pub(crate) fn rows(&self) -> &'a dyn Rows {
        match self {
            Self::CrossEntropy(rows) => *rows,
            Self::Preference(preference) => preference.rows(),
        }
    }

    /// Rows of one example; they follow each other and go through the model in one pass.
    pub(crate) fn together(&self) -> usize {
        match self {
            Self::CrossEntropy(_) => 1,
            Self::Preference(preference) => preference.together(),
        }
    }

    /// Examples: what a batch counts and an epoch goes through.
    pub(crate) fn examples(&self) -> usize {
        self.rows().len() / self.together()
    }

    /// Computes what the rows of an optimizer step need beside their own gradient.
    pub(crate) fn begin(
        &self,
        model: &Model,
        trained: &dyn Trainable,
        rows: &[NamedRow<'_>],
        workers: &mut Workers,
    ) -> Result<ObjectiveStep<'a>, LlmError> {
        Ok(match self {
            Self::CrossEntropy(_) => {
                ObjectiveStep::CrossEntropy { supervised: rows.iter().map(|named| named.row.supervised()).sum() }
            }
            Self::Preference(preference) => ObjectiveStep::Preference(preference.begin(model, trained, rows, workers)?),
        })
    }

    /// The loss over validation rows, and how often the better answer is the likelier one.
    pub(crate) fn validate(
        &self,
        model: &Model,
        trained: &dyn Trainable,
        workers: &mut Workers,
    ) -> Result<(f64, Option<f64>), LlmError> {
        match self {
            Self::CrossEntropy(rows) => Ok((validate(model, trained, *rows, workers)?, None)),
            Self::Preference(preference) => {
                let (loss, metrics) = preference.validate(model, trained, workers)?;
                Ok((loss, metrics.accuracies))
            }
        }
    }
}

impl ObjectiveStep<'_> {
    /// How the rows weigh in the gradient.
    pub(crate) fn weights(&self) -> Weights<'_> {
        match self {
            Self::CrossEntropy { supervised } => Weights::Every(1.0 / *supervised as f64),
            Self::Preference(step) => Weights::ByRow(step),
        }
    }

    /// The step's loss, and what else is to be known of it.
    pub(crate) fn measure(&self, found: &Passed) -> (f64, PreferenceMetrics) {
        match self {
            Self::CrossEntropy { .. } => (found.loss.mean(), PreferenceMetrics::default()),
            Self::Preference(step) => step.measure(&found.rows),
        }
    }
}
