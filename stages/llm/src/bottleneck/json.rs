//! `adapter_config.json` of the `adapters` library.

use refit_checkpoint::ModelConfig;
use serde_json::{Map, Value, json};

use super::{BottleneckConfig, BottleneckInit, BottleneckInput, BottleneckPlace, NonLinearity, ReductionFactor};
use crate::{LlmError, adapter::ReadError};

/// The version of the library whose files these are.
const VERSION: &str = "adapters.1.3.0";

impl BottleneckConfig {
    /// The file as the library writes it for a causal language model: every key, sorted, two spaces.
    pub(super) fn to_json(&self, model: &ModelConfig) -> String {
        let has = |place| self.places.contains(&place);
        let factor = match &self.reduction_factor {
            ReductionFactor::Every(factor) => number(*factor),
            ReductionFactor::ByLayer(layers) => {
                layers.iter().map(|(layer, factor)| (layer.clone(), number(*factor))).collect::<Map<_, _>>().into()
            }
        };
        let config = json!({
            "adapter_residual_before_ln": false,
            "cross_adapter": false,
            "dropout": self.dropout,
            "factorized_phm_W": true,
            "factorized_phm_rule": false,
            "hypercomplex_nonlinearity": "glorot-uniform",
            "init_weights": self.init,
            "init_weights_seed": null,
            "inv_adapter": null,
            "inv_adapter_reduction_factor": null,
            "is_parallel": self.input == BottleneckInput::Residual,
            "learn_phm": true,
            "leave_out": self.leave_out,
            "ln_after": false,
            "ln_before": false,
            "mh_adapter": has(BottleneckPlace::Attention),
            "non_linearity": self.non_linearity,
            "original_ln_after": true,
            "original_ln_before": self.input == BottleneckInput::Sum,
            "output_adapter": has(BottleneckPlace::FeedForward),
            "phm_bias": true,
            "phm_c_init": "normal",
            "phm_dim": 4,
            "phm_init_range": 0.0001,
            "phm_layer": false,
            "phm_rank": 1,
            "reduction_factor": factor,
            "residual_before_ln": true,
            "scaling": self.scaling,
            "shared_W_phm": false,
            "shared_phm_rule": true,
            "stochastic_depth": 0.0,
            "use_gating": false,
        });
        let file = json!({
            "config": sorted(config),
            "hidden_size": model.hidden_size,
            "model_class": model.family.class(),
            "model_name": self.base_model.as_deref().unwrap_or_default(),
            "model_type": model.family.name(),
            "name": self.name,
            "version": VERSION,
        });
        format!("{:#}", sorted(file))
    }

    /// Reads the file. The message of an error says what is wrong; the caller adds the file.
    pub(super) fn from_json(text: &str) -> Result<Self, ReadError> {
        let file: Value = serde_json::from_str(text).map_err(|error| ReadError::Malformed(error.to_string()))?;
        let malformed = |what: &str| ReadError::Malformed(what.to_owned());
        let config = file.get("config").and_then(Value::as_object);
        let config = config.ok_or_else(|| malformed("`config` is missing or no object"))?;
        let refuse = |key: &str| {
            let value = config.get(key).cloned().unwrap_or_default();
            Err(ReadError::Unsupported(LlmError::UnsupportedAdapter { feature: format!("{key}: {value}") }))
        };
        let is = |key: &str, default: bool| match config.get(key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(malformed(&format!("`{key}` is neither true nor false"))),
        };
        let number = |key: &str, default: f64| match config.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| malformed(&format!("`{key}` is not a number"))),
        };
        // Another method altogether: prefix tuning, LoRA, a union of several.
        for key in ["architecture", "inv_adapter"] {
            if config.get(key).is_some_and(|value| !value.is_null()) {
                return refuse(key);
            }
        }
        for key in ["ln_before", "ln_after", "use_gating", "phm_layer"] {
            if is(key, false)? {
                return refuse(key);
            }
        }
        let parallel = is("is_parallel", false)?;
        let input = match (parallel, is("original_ln_before", false)?) {
            (true, _) => BottleneckInput::Residual,
            (false, true) => BottleneckInput::Sum,
            (false, false) => BottleneckInput::Added,
        };
        if !is("original_ln_after", true)? {
            return refuse("original_ln_after");
        }
        let residual = config.get("residual_before_ln").unwrap_or(&Value::Bool(true));
        if !parallel && *residual != Value::Bool(true) {
            return refuse("residual_before_ln");
        }
        // `learned` and `channel` are tensors of their own.
        if config.get("scaling").is_some_and(Value::is_string) {
            return refuse("scaling");
        }
        let places = [("mh_adapter", BottleneckPlace::Attention), ("output_adapter", BottleneckPlace::FeedForward)];
        let mut present = Vec::new();
        for (key, place) in places {
            if is(key, false)? {
                present.push(place);
            }
        }
        let factor = config.get("reduction_factor").ok_or_else(|| malformed("`reduction_factor` is missing"))?;
        let reduction_factor = serde_json::from_value(factor.clone())
            .map_err(|_| malformed("`reduction_factor` is neither a number nor numbers by layer"))?;
        let act = config.get("non_linearity").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let Ok(non_linearity) = serde_json::from_value::<NonLinearity>(act.into()) else {
            return refuse("non_linearity");
        };
        let leave_out = match config.get("leave_out") {
            None | Some(Value::Null) => Vec::new(),
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|_| malformed("`leave_out` is no list of numbers of layers"))?,
        };
        let text = |key: &str| file.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let init = config.get("init_weights").cloned().unwrap_or_default();
        Ok(Self {
            places: present,
            input,
            reduction_factor,
            non_linearity,
            scaling: number("scaling", 1.0)?,
            dropout: number("dropout", 0.0)?,
            // What the values once were changes nothing of them.
            init: serde_json::from_value(init).unwrap_or(BottleneckInit::Bert),
            leave_out,
            base_model: text("model_name").map(str::to_owned),
            name: text("name").ok_or_else(|| malformed("`name` is missing"))?.to_owned(),
        })
    }
}

/// The library writes whole factors as integers.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

fn sorted(object: Value) -> Value {
    let Value::Object(map) = object else { return object };
    let mut entries: Vec<(String, Value)> = map.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Value::Object(entries.into_iter().collect())
}
