use refit_checkpoint::ModelConfig;
use regex::Regex;

use super::tensors::{WeightPlace, WeightTensor};
use crate::LlmError;

/// Which weights of a model are trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those whose full names one of these regular expressions matches somewhere: `norm`, `layers\.(28|29)\.`.
    Matching(Vec<String>),
}

impl Selection {
    /// Says whether the expressions are valid.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), LlmError> {
        self.expressions().map(|_| ())
    }

    fn expressions(&self) -> Result<Vec<Regex>, LlmError> {
        let Self::Matching(patterns) = self else { return Ok(Vec::new()) };
        let regex = |pattern: &String| {
            Regex::new(pattern)
                .map_err(|error| LlmError::BadWeightPattern { pattern: pattern.clone(), reason: error.to_string() })
        };
        patterns.iter().map(regex).collect()
    }

    /// The tensors of a model that match, in the order of computation.
    pub(crate) fn resolve(&self, model: &ModelConfig) -> Result<Vec<WeightTensor>, LlmError> {
        let expressions = self.expressions()?;
        let all: Vec<(String, Vec<usize>, WeightPlace)> = WeightPlace::all(model);
        if let Some(unused) = expressions.iter().find(|regex| !all.iter().any(|(name, ..)| regex.is_match(name))) {
            return Err(LlmError::NoWeight { pattern: unused.to_string() });
        }
        let chosen = |name: &str| *self == Self::All || expressions.iter().any(|regex| regex.is_match(name));
        let mut start = 0;
        let chosen = all.into_iter().filter(|(name, ..)| chosen(name));
        let tensors = chosen.map(|(name, shape, place)| {
            let tensor = WeightTensor { name, shape, start, place };
            start = tensor.range().end;
            tensor
        });
        Ok(tensors.collect())
    }
}
