use refit_checkpoint::{LinearForm, ModelConfig};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::{LlmError, model::LinearModule};

/// Which linear layers of the decoder get LoRA, matched as PEFT matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TargetText", into = "TargetText")]
pub enum TargetModules {
    /// Every linear layer of every block; never the head.
    AllLinear,
    /// Ends of full names: `q_proj`, `self_attn.q_proj`.
    Names(Vec<String>),
    /// One regular expression that matches full names such as `model.layers.0.self_attn.q_proj` from start to end.
    Pattern(String),
}

/// As it is written in `adapter_config.json` and in a pipeline: a text or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TargetText {
    One(String),
    Many(Vec<String>),
}

impl From<TargetText> for TargetModules {
    fn from(text: TargetText) -> Self {
        match text {
            TargetText::One(text) if text == "all-linear" => Self::AllLinear,
            // A bare name is a valid expression that would match nothing from start to end; PEFT users mean the name.
            TargetText::One(text) if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                Self::Names(vec![text])
            }
            TargetText::One(text) => Self::Pattern(text),
            TargetText::Many(names) => Self::Names(names),
        }
    }
}

impl From<String> for TargetModules {
    fn from(text: String) -> Self {
        TargetText::One(text).into()
    }
}

impl From<TargetModules> for TargetText {
    fn from(target: TargetModules) -> Self {
        match target {
            TargetModules::AllLinear => Self::One("all-linear".into()),
            TargetModules::Names(names) => Self::Many(names),
            TargetModules::Pattern(pattern) => Self::One(pattern),
        }
    }
}

impl TargetModules {
    /// The layers and modules that match, in the order of computation.
    ///
    /// # Errors
    /// When nothing matches, a listed name matches nothing, or the expression is not valid.
    pub fn resolve(&self, model: &ModelConfig) -> Result<Vec<(usize, LinearModule)>, LlmError> {
        let all = || {
            let named = model.linear_modules();
            named.map(|(layer, module)| ((layer, module), model.linear_path(layer, module)))
        };
        let no_target = |patterns: String| {
            let names: Vec<&str> = model.linears.iter().map(LinearForm::short_name).collect();
            LlmError::NoTarget { patterns, names: names.join(", ") }
        };
        let ends_with = |path: &str, name: &str| path == name || path.ends_with(&format!(".{name}"));
        if let Self::Names(names) = self
            && let Some(name) = names.iter().find(|name| !all().any(|(_, path)| ends_with(&path, name)))
        {
            return Err(no_target(format!("`{name}`")));
        }
        let pattern = self.pattern()?;
        let wanted = |path: &str| match self {
            Self::AllLinear => true,
            Self::Names(names) => names.iter().any(|name| ends_with(path, name)),
            Self::Pattern(_) => pattern.as_ref().is_some_and(|whole| whole.is_match(path)),
        };
        let matched: Vec<_> = all().filter(|(_, path)| wanted(path)).map(|(found, _)| found).collect();
        if matched.is_empty() {
            return Err(no_target(self.to_string()));
        }
        Ok(matched)
    }

    /// Refuses an expression that is not valid, whatever the model.
    ///
    /// # Errors
    /// What the expression's parser says.
    pub fn check(&self) -> Result<(), LlmError> {
        self.pattern().map(drop)
    }

    /// The expression, made to match from start to end.
    fn pattern(&self) -> Result<Option<Regex>, LlmError> {
        let Self::Pattern(pattern) = self else { return Ok(None) };
        let whole = Regex::new(&format!("^(?:{pattern})$"));
        whole
            .map(Some)
            .map_err(|error| LlmError::BadTargetPattern { pattern: pattern.clone(), reason: error.to_string() })
    }
}

impl std::fmt::Display for TargetModules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AllLinear => f.write_str("`all-linear`"),
            Self::Names(names) => write!(f, "[{}]", names.join(", ")),
            Self::Pattern(pattern) => write!(f, "`{pattern}`"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_as_peft_matches() {
        let model = ModelConfig { layers: 3, ..crate::reference::llama().config };
        let count = |json: &str| serde_json::from_str::<TargetModules>(json).unwrap().resolve(&model).map(|m| m.len());
        assert_eq!(count(r#""all-linear""#).unwrap(), 21);
        assert_eq!(count(r#"["q_proj", "v_proj"]"#).unwrap(), 6);
        assert_eq!(count(r#"["self_attn.q_proj"]"#).unwrap(), 3);
        assert_eq!(count(r#""q_proj""#).unwrap(), 3);
        assert_eq!(count(r#"".*\\.layers\\.[01]\\.mlp\\..*""#).unwrap(), 6);
        assert!(count(r#""q_proj|v_proj""#).is_err(), "an expression has to match the full name");
        assert!(count(r#"["q_proj", "lm_head"]"#).is_err());
        assert!(matches!(count(r#""(""#), Err(LlmError::BadTargetPattern { .. })));
    }
}
