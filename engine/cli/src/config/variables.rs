//! The layer of environment variables.

use std::ffi::OsString;

use serde_json::Value;

use super::{Config, ConfigError, keys::nested};

/// How the text of a variable is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    /// Everything but `0`, `false` and `no` is a yes.
    Flag,
    /// Set to anything, it says this.
    Says(&'static str),
    /// A folder in which this name is meant.
    Holds(&'static str),
}

/// Which variables set a key; of several for one key the first one counts.
const VARIABLES: [(&str, &str, Form); 24] = [
    ("jobs", "REFIT_JOBS", Form::Number),
    ("device", "REFIT_DEVICE", Form::Text),
    ("fusion", "REFIT_FUSION", Form::Flag),
    ("gpus", "REFIT_GPUS", Form::Text),
    ("keep_going", "REFIT_KEEP_GOING", Form::Flag),
    ("color", "REFIT_COLOR", Form::Text),
    ("color", "NO_COLOR", Form::Says("never")),
    ("verbosity", "REFIT_VERBOSITY", Form::Text),
    ("store", "REFIT_STORE", Form::Text),
    ("cache.remote", "REFIT_CACHE_REMOTE", Form::Text),
    ("cache.pull", "REFIT_CACHE_PULL", Form::Flag),
    ("cache.push", "REFIT_CACHE_PUSH", Form::Flag),
    ("cache.signing_key", "REFIT_CACHE_SIGNING_KEY", Form::Text),
    ("cache.endpoint", "REFIT_CACHE_ENDPOINT", Form::Text),
    ("cache.region", "REFIT_CACHE_REGION", Form::Text),
    ("cache.timeout", "REFIT_CACHE_TIMEOUT", Form::Number),
    ("fetch.offline", "REFIT_OFFLINE", Form::Flag),
    ("fetch.offline", "HF_HUB_OFFLINE", Form::Flag),
    ("fetch.downloads", "REFIT_CACHE", Form::Text),
    ("fetch.certificates", "SSL_CERT_FILE", Form::Text),
    ("hub.endpoint", "HF_ENDPOINT", Form::Text),
    ("hub.cache", "HF_HUB_CACHE", Form::Text),
    ("hub.cache", "HF_HOME", Form::Holds("hub")),
    ("hub.token", "HF_TOKEN", Form::Text),
];

/// The variables that set a key, the stronger ones first.
pub(crate) fn names_of(key: &str) -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().filter(move |(name, ..)| *name == key).map(|(_, variable, _)| *variable)
}

/// What the variables set, read with `variable`. Empty ones set nothing.
pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    for (key, name, form) in VARIABLES {
        let Some(text) = variable(name) else { continue };
        let wrong = |why: String| ConfigError::variable(name, &text.to_string_lossy(), why);
        let text = text.to_str().ok_or_else(|| wrong("it is not UTF-8".into()))?.trim();
        if text.is_empty() {
            continue;
        }
        let value = match form {
            Form::Text => Value::from(text),
            Form::Says(value) => Value::from(value),
            Form::Flag => Value::from(!matches!(text.to_lowercase().as_str(), "0" | "false" | "no")),
            Form::Number => {
                text.parse::<u64>().map(Value::from).map_err(|_| wrong("it is a whole number from 1".into()))?
            }
            Form::Holds(entry) => Value::from(std::path::Path::new(text).join(entry).to_string_lossy().into_owned()),
        };
        let set: Config = serde_json::from_value(nested(key, value)).map_err(|error| wrong(error.to_string()))?;
        // An earlier variable of the same key counts.
        config = config.over(set);
    }
    Ok(config)
}

/// Which variable set a key.
pub(super) fn setter(key: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    names_of(key).find(|name| variable(name).is_some_and(|text| !text.to_string_lossy().trim().is_empty()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{keys, keys::find};

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        from_variables(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn every_variable_sets_a_key_there_is() {
        for (key, variable, _) in VARIABLES {
            assert!(keys::known(key).is_some(), "{variable} sets {key}");
        }
        for key in keys::keys() {
            assert!(names_of(&key.name).next().is_some(), "no variable sets {}", key.name);
        }
    }

    #[test]
    fn the_first_variable_of_a_key_counts_and_empty_ones_do_not() {
        let config = read(&[
            ("REFIT_JOBS", "3"),
            ("REFIT_OFFLINE", "no"),
            ("HF_HUB_OFFLINE", "1"),
            ("HF_HOME", "/hf"),
            ("NO_COLOR", "1"),
            ("REFIT_COLOR", ""),
        ])
        .unwrap();
        assert_eq!(config.jobs(), 3);
        assert!(!config.is_offline());
        assert_eq!(config.hub.cache.as_deref(), Some(std::path::Path::new("/hf/hub")));
        assert_eq!(find(&serde_json::to_value(&config).unwrap(), "color").unwrap(), "never");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_an_error_that_names_the_variable() {
        for (name, value) in
            [("REFIT_JOBS", "many"), ("REFIT_JOBS", "0"), ("REFIT_DEVICE", "tpu"), ("REFIT_COLOR", "pink")]
        {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(name) && error.to_string().contains(value), "{error}");
        }
    }
}
