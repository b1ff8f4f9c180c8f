//! What refit takes from the environment. No other code reads it.

use std::{
    env,
    path::{Path, PathBuf},
};

use refit_engine::fetch::{FetchOptions, HubOptions, Token};

/// The variables refit knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `REFIT_STORE`: where the store is.
    pub(crate) store: Option<PathBuf>,
    /// `REFIT_CACHE`, else the user's cache folder: where downloads are kept.
    pub(crate) downloads: PathBuf,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`: shared with that ecosystem's tools.
    pub(crate) hub_cache: PathBuf,
    /// `HF_ENDPOINT`: a mirror of the hub.
    pub(crate) hub_endpoint: Option<String>,
    /// `HF_TOKEN`, else what `huggingface-cli login` wrote.
    pub(crate) hub_token: Option<Token>,
    /// `SSL_CERT_FILE`: the certificates to trust.
    pub(crate) certificates: Option<PathBuf>,
    /// `HF_HUB_OFFLINE` or `REFIT_OFFLINE`.
    pub(crate) offline: bool,
    /// `NO_COLOR`.
    pub(crate) no_color: bool,
    /// `TERM` names a terminal that can redraw lines.
    pub(crate) redraws: bool,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let flag =
            |name: &str| text(name).is_some_and(|value| !matches!(value.to_lowercase().as_str(), "0" | "false" | "no"));
        let home = path("HOME").unwrap_or_else(env::temp_dir);
        let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hub_home = path("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hub_home.join("token"));
        Self {
            store: path("REFIT_STORE"),
            downloads: path("REFIT_CACHE").unwrap_or_else(|| caches.join("refit").join("downloads")),
            hub_cache: path("HF_HUB_CACHE").unwrap_or_else(|| hub_home.join("hub")),
            hub_endpoint: text("HF_ENDPOINT"),
            hub_token: text("HF_TOKEN").or_else(|| saved_token(&token_file)).map(|token| Token::new(&token)),
            certificates: path("SSL_CERT_FILE"),
            offline: flag("REFIT_OFFLINE") || flag("HF_HUB_OFFLINE"),
            no_color: env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            redraws: text("TERM").is_some_and(|term| term != "dumb"),
        }
    }

    /// How sources are fetched here.
    pub(crate) fn fetch_options(&self) -> FetchOptions {
        let endpoint = self.hub_endpoint.clone().unwrap_or_else(|| HubOptions::ENDPOINT.to_owned());
        FetchOptions {
            cache: self.downloads.clone(),
            offline: self.offline,
            hub: HubOptions { endpoint, cache: Some(self.hub_cache.clone()), token: self.hub_token.clone() },
            certificates: self.certificates.clone(),
            ..FetchOptions::default()
        }
    }
}

fn saved_token(file: &Path) -> Option<String> {
    fs_err::read_to_string(file).ok().filter(|token| !token.trim().is_empty())
}
