use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{parse_duration, parse_size};

/// What a step occupies while it runs. Steps start only as long as the machine has what all of them need together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcesSpec {
    /// Processor cores, 1 if nothing is said. It is told to keep no more threads busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Main memory, such as `4GB` or `512MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SizeSpec>,
    /// GPUs that it has to itself. It is told which: `REFIT_GPUS` for programs, `--device wgpu:N` for models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// GPU memory, such as `8GB`: of each of its GPUs; without `gpu`, of one that it shares with other steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram: Option<SizeSpec>,
}

/// A number of bytes, or a text such as `4GB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SizeSpec {
    /// Bytes.
    Bytes(u64),
    /// A number and a unit.
    Text(String),
}

/// A number of seconds, or a text such as `10m` or `1h 30m`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DurationSpec {
    /// Seconds.
    Seconds(#[schemars(range(min = 0.0))] f64),
    /// Numbers and units.
    Text(String),
}

/// One name, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MutexSpec {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// How often, or how often and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetriesSpec {
    /// Tries after the first one.
    Times(#[schemars(range(max = 1000))] u32),
    /// And how long to wait between them.
    Backoff(BackoffSpec),
}

/// Tries after the first one, and how long to wait between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffSpec {
    /// Tries after the first one.
    #[schemars(range(max = 1000))]
    pub times: u32,
    /// The wait before the second try, such as `30s`; one second if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<DurationSpec>,
    /// By which the wait grows with every try, up to an hour; 2 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub factor: Option<f64>,
}

impl SizeSpec {
    /// In bytes; else what it should look like.
    pub fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => parse_size(text),
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl DurationSpec {
    /// As a duration; else what it should look like.
    pub fn duration(&self) -> Result<Duration, String> {
        match self {
            Self::Seconds(seconds) => {
                Duration::try_from_secs_f64(*seconds).map_err(|_| "it is a number of seconds from 0 on".into())
            }
            Self::Text(text) => parse_duration(text),
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Seconds(_) => None,
            Self::Text(text) => Some(text),
        }
    }
}

impl MutexSpec {
    /// All the names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }

    /// Whether they are written as a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Several(_))
    }
}
