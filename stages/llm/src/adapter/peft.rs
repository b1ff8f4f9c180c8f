use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::TargetModules;
use crate::LlmError;

/// The settings of a LoRA adapter that its values depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoraConfig {
    /// Rank of the update.
    pub rank: usize,
    /// α; the update is scaled by α/r.
    pub alpha: f64,
    /// Probability of dropping an entry of LoRA's input in training.
    pub dropout: f64,
    /// Scale by α/√r instead.
    pub rslora: bool,
    /// Learn the lengths of the weights' rows apart from their directions.
    pub dora: bool,
    /// What the values are before the first step.
    pub init: LoraInit,
    /// The layers that have it.
    pub target_modules: TargetModules,
    /// A name of the base model for those who load the adapter.
    pub base_model: Option<String>,
}

/// What A and B are before the first step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoraInit {
    /// A uniform in ±1/√in (Kaiming's with a = √5), B zero.
    #[default]
    Kaiming,
    /// A normal with deviation 1/r, B zero.
    Gaussian,
    /// The largest singular values of W; the rest of W stays in the base.
    Pissa,
}

impl Default for LoraConfig {
    /// As PEFT's, over every linear layer.
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            rslora: false,
            dora: false,
            init: LoraInit::default(),
            target_modules: TargetModules::AllLinear,
            base_model: None,
        }
    }
}

impl LoraConfig {
    /// The factor of the update: α/r, or α/√r.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// `adapter_config.json` as PEFT writes it: every key, sorted, two spaces.
    pub(crate) fn to_json(&self, modules: &[&str]) -> String {
        let targets = match &self.target_modules {
            TargetModules::Pattern(pattern) => Value::from(pattern.as_str()),
            TargetModules::Names(names) => {
                let mut names = names.clone();
                names.sort();
                Value::from(names)
            }
            TargetModules::AllLinear => Value::from(modules.to_vec()),
        };
        // An adapter that starts from singular values is written as one for the base as it was.
        let init = match self.init {
            LoraInit::Kaiming | LoraInit::Pissa => Value::from(true),
            LoraInit::Gaussian => "gaussian".into(),
        };
        let empty = || Value::Object(Map::new());
        let mut entries = [
            ("alpha_pattern", empty()),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", self.base_model.clone().into()),
            ("bias", "none".into()),
            ("fan_in_fan_out", false.into()),
            ("inference_mode", true.into()),
            ("init_lora_weights", init),
            ("layer_replication", Value::Null),
            ("layers_pattern", Value::Null),
            ("layers_to_transform", Value::Null),
            ("loftq_config", empty()),
            ("lora_alpha", number(self.alpha)),
            ("lora_dropout", self.dropout.into()),
            ("megatron_config", Value::Null),
            ("megatron_core", "megatron.core".into()),
            ("modules_to_save", Value::Null),
            ("peft_type", "LORA".into()),
            ("r", self.rank.into()),
            ("rank_pattern", empty()),
            ("revision", Value::Null),
            ("target_modules", targets),
            ("task_type", "CAUSAL_LM".into()),
            ("use_dora", self.dora.into()),
            ("use_rslora", self.rslora.into()),
        ];
        entries.sort_by_key(|(key, _)| *key);
        let object: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        format!("{:#}", Value::Object(object))
    }

    /// Reads PEFT's `adapter_config.json`. The message of an error says what is wrong; the caller adds the file.
    pub(crate) fn from_json(text: &str) -> Result<Self, ReadError> {
        let value: Map<String, Value> = serde_json::from_str(text).map_err(|e| ReadError::Malformed(e.to_string()))?;
        let on = |key: &str| value.get(key).is_some_and(|v| v.as_bool() == Some(true));
        let filled = |key: &str| match value.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Object(map)) => !map.is_empty(),
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        let refuse = |key: &str| {
            let value = value.get(key).cloned().unwrap_or_default();
            Err(ReadError::Unsupported(LlmError::UnsupportedAdapter { feature: format!("{key}: {value}") }))
        };
        match value.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(_) => return refuse("peft_type"),
            None if is_bottleneck(&value) => return Err(ReadError::Unsupported(LlmError::NotLora)),
            None => return Err(ReadError::Malformed("it has no `peft_type`".into())),
        }
        for key in ["fan_in_fan_out", "lora_bias", "use_qalora"] {
            if on(key) {
                return refuse(key);
            }
        }
        for key in [
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "layer_replication",
            "trainable_token_indices",
            "target_parameters",
        ] {
            if filled(key) {
                return refuse(key);
            }
        }
        if value.get("bias").and_then(Value::as_str).is_some_and(|bias| bias != "none") {
            return refuse("bias");
        }
        // These change the base's weights too, and the folder does not hold the changed base.
        let init = value.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
        if ["pissa", "olora", "corda", "loftq"].iter().any(|method| init.starts_with(method)) {
            return refuse("init_lora_weights");
        }
        let number = |key: &str, default: f64| match value.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => v.as_f64().ok_or_else(|| ReadError::Malformed(format!("`{key}` is not a number"))),
        };
        let rank = number("r", 8.0)?;
        if rank < 1.0 || rank.fract() != 0.0 {
            return Err(ReadError::Malformed(format!("`r` is {rank}, not a whole number above 0")));
        }
        let target_modules = match value.get("target_modules") {
            None | Some(Value::Null) => TargetModules::Names(vec!["q_proj".into(), "v_proj".into()]),
            Some(targets) => serde_json::from_value(targets.clone())
                .map_err(|_| ReadError::Malformed("`target_modules` is neither a text nor a list of texts".into()))?,
        };
        Ok(Self {
            rank: rank as usize,
            alpha: number("lora_alpha", 8.0)?,
            dropout: number("lora_dropout", 0.0)?,
            rslora: on("use_rslora"),
            dora: on("use_dora"),
            init: if init == "gaussian" { LoraInit::Gaussian } else { LoraInit::Kaiming },
            target_modules,
            base_model: value.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// Whether an `adapter_config.json` is one of the `adapters` library, whose settings lie below `config`.
pub(super) fn is_bottleneck(value: &Map<String, Value>) -> bool {
    value.get("peft_type").is_none() && value.get("config").is_some_and(Value::is_object)
}

/// Why a configuration cannot be used.
pub(crate) enum ReadError {
    Malformed(String),
    Unsupported(LlmError),
}

impl ReadError {
    /// The same, of this file.
    pub(crate) fn at(self, path: &Path) -> LlmError {
        match self {
            Self::Malformed(reason) => LlmError::AdapterFile { path: path.to_owned(), reason },
            Self::Unsupported(error) => error,
        }
    }
}

/// PEFT writes whole alphas as integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}
