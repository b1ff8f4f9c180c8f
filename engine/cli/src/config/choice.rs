//! Values that only a few words or forms may have.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where models run: `auto`, `cpu`, `wgpu`, `wgpu:N`, or several, which share trainings: `wgpu:0,wgpu:1` or `wgpu:all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub(crate) struct Device(String);

impl Default for Device {
    fn default() -> Self {
        Self("auto".into())
    }
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let adapter =
            |one: &str| one == "wgpu" || one.strip_prefix("wgpu:").is_some_and(|index| index.parse::<usize>().is_ok());
        if matches!(text, "auto" | "cpu" | "wgpu:all") || text.split(',').all(adapter) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is one of `auto`, `cpu`, `wgpu`, `wgpu:N`, `wgpu:N,wgpu:M`, `wgpu:all`")
        }
    }
}

impl TryFrom<String> for Device {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.0
    }
}

/// How much refit says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// What a person wants to know.
    #[default]
    Usual,
    /// Every fact that stages tell.
    Verbose,
}

/// A secret: written down in files that stay on this machine, never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub(crate) struct Secret(String);

impl Secret {
    /// What stands in its place wherever settings are shown.
    pub(crate) const SHOWN: &'static str = "(hidden)";

    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whoever needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::SHOWN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}
