use std::{
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Gpus, Secret, Verbosity};
use crate::args::Color;

/// All settings. What is not set here is set in a layer below, or has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Steps at a time; by default the number of cores, at least 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jobs: Option<NonZero<usize>>,
    /// Where models run: `auto`, `cpu`, `wgpu`, `wgpu:N`, or several, which share trainings: `wgpu:0,wgpu:1` or `wgpu:all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Device>,
    /// Whether GPUs do several operations by one kernel: faster, but some drivers compile such kernels wrongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fusion: Option<bool>,
    /// The GPUs that steps may have, `0,1`, or with their memory, which lets steps share them, `0:24GB,1:8GB`; by default
    /// those that are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gpus: Option<Gpus>,
    /// Whether to go on after a failure with the stages that do not need the failed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_going: Option<bool>,
    /// When to use colour: `auto`, `always` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) color: Option<Color>,
    /// How much to say: `quiet`, `usual` or `verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verbosity: Option<Verbosity>,
    /// The store's folder, instead of the nearest `.refit`. In a file, a relative path begins where that file's `.refit` lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<PathBuf>,
    /// Results shared with other machines.
    #[serde(skip_serializing_if = "CacheConfig::is_empty")]
    pub(crate) cache: CacheConfig,
    /// How sources are fetched.
    #[serde(skip_serializing_if = "FetchConfig::is_empty")]
    pub(crate) fetch: FetchConfig,
    /// The Hugging Face hub.
    #[serde(skip_serializing_if = "HubConfig::is_empty")]
    pub(crate) hub: HubConfig,
}

/// Results shared with other machines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheConfig {
    /// Where shared results are: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `https://HOST/PATH` or `file:///FOLDER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<String>,
    /// Whether results that are not in the store are looked for there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pull: Option<bool>,
    /// Whether results made here are copied there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) push: Option<bool>,
    /// A secret that all who share results know: what is pushed is signed with it, and nothing else is pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signing_key: Option<Secret>,
    /// The address of a server that speaks S3 or, for `gs://`, Google's protocol, where it is not their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The region of the S3 bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Seconds without a byte after which the remote counts as unreachable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<NonZero<u32>>,
}

/// How sources are fetched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FetchConfig {
    /// Whether to use what is here and touch no network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offline: Option<bool>,
    /// The folder where downloads are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) downloads: Option<PathBuf>,
    /// A PEM file with the certificates to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificates: Option<PathBuf>,
}

/// The Hugging Face hub.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HubConfig {
    /// The hub, or a mirror of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The folder of the hub's files, shared with that ecosystem's tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<PathBuf>,
    /// The access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
}

impl Config {
    /// This layer over a lower one: what is set here counts.
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            jobs: self.jobs.or(lower.jobs),
            device: self.device.or(lower.device),
            fusion: self.fusion.or(lower.fusion),
            gpus: self.gpus.or(lower.gpus),
            keep_going: self.keep_going.or(lower.keep_going),
            color: self.color.or(lower.color),
            verbosity: self.verbosity.or(lower.verbosity),
            store: self.store.or(lower.store),
            cache: CacheConfig {
                remote: self.cache.remote.or(lower.cache.remote),
                pull: self.cache.pull.or(lower.cache.pull),
                push: self.cache.push.or(lower.cache.push),
                signing_key: self.cache.signing_key.or(lower.cache.signing_key),
                endpoint: self.cache.endpoint.or(lower.cache.endpoint),
                region: self.cache.region.or(lower.cache.region),
                timeout: self.cache.timeout.or(lower.cache.timeout),
            },
            fetch: FetchConfig {
                offline: self.fetch.offline.or(lower.fetch.offline),
                downloads: self.fetch.downloads.or(lower.fetch.downloads),
                certificates: self.fetch.certificates.or(lower.fetch.certificates),
            },
            hub: HubConfig {
                endpoint: self.hub.endpoint.or(lower.hub.endpoint),
                cache: self.hub.cache.or(lower.hub.cache),
                token: self.hub.token.or(lower.hub.token),
            },
        }
    }

    /// Makes the paths of a file absolute: `~/` is the user's folder, others begin at `base`.
    pub(crate) fn rebase(&mut self, base: &Path, home: &Path) {
        let paths = [&mut self.store, &mut self.fetch.downloads, &mut self.fetch.certificates, &mut self.hub.cache];
        for path in paths.into_iter().flatten() {
            *path = match path.strip_prefix("~") {
                Ok(rest) => home.join(rest),
                Err(_) => base.join(&*path),
            };
        }
    }

    /// Steps at a time.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from).max(2), usize::from)
    }

    /// Whether the user wants no network to be touched.
    pub(crate) fn is_offline(&self) -> bool {
        self.fetch.offline.unwrap_or(false)
    }
}

impl CacheConfig {
    /// Seconds without a byte after which the remote counts as unreachable, where nothing else is said.
    pub(crate) const TIMEOUT: NonZero<u32> = NonZero::new(10).expect("invariant: ten is not zero");

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FetchConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl HubConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
