//! Settings from layers: flags over variables over the local, the project's and the user's file, over defaults.

mod choice;
mod error;
mod file;
mod gpus;
mod keys;
mod layer;
mod values;
mod variables;

pub(crate) use choice::{Device, Secret, Verbosity};
pub(crate) use error::ConfigError;
pub(crate) use file::{ConfigFile, Scope};
pub(crate) use gpus::Gpus;
pub(crate) use keys::{Key, keys, known};
pub(crate) use layer::{Layer, Origin};
pub(crate) use values::{CacheConfig, Config, FetchConfig, HubConfig};
pub(crate) use variables::{from_variables, names_of};
