//! The remote cache that the settings ask for.

use std::{sync::Arc, time::Duration};

use refit_cache::{Pushed, Remote};
use refit_remote::{Location, RemoteCache, RemoteError, RemoteOptions, SigningKey};
use tokio::runtime::{self, Runtime};

use crate::{
    config::{CacheConfig, Config},
    environment::Environment,
    ui::{Ui, bytes, count},
};

/// The remote cache, if there is one and the network may be used.
pub(crate) fn open(config: &Config) -> Result<Option<Arc<dyn Remote>>, RemoteError> {
    let Config { cache, fetch, .. } = config;
    let (pull, push) = (cache.pull.unwrap_or(true), cache.push.unwrap_or(true));
    let Some(place) = &cache.remote else { return Ok(None) };
    let location: Location = place.parse()?;
    let is_away = !matches!(location, Location::Folder { .. });
    if !(pull || push) || (is_away && config.is_offline()) {
        return Ok(None);
    }
    let timeout = cache.timeout.unwrap_or(CacheConfig::TIMEOUT);
    Ok(Some(Arc::new(RemoteCache::new(RemoteOptions {
        location,
        pull,
        push,
        signing_key: cache.signing_key.as_ref().map(|key| SigningKey::new(key.reveal())),
        endpoint: cache.endpoint.clone(),
        region: cache.region.clone(),
        timeout: Duration::from_secs(timeout.get().into()),
        certificates: fetch.certificates.clone(),
        credentials: Environment::cloud_credentials(),
    }))))
}

/// A runtime for commands that only talk to the remote cache.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Says what became of results that were pushed.
pub(crate) fn tell(pushed: &Pushed, ui: Ui) {
    for failure in &pushed.failures {
        ui.note(failure);
    }
    if pushed.results > 0 {
        ui.say(&format!("{} shared ({})", count(pushed.results, "result"), bytes(pushed.bytes)));
    }
}
