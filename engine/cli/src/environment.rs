//! What refit takes from its surroundings: variables, configuration files, the user's folders. No other code reads them.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use refit_engine::{location::locate_store, stage::Variables};
use refit_fetch::{FetchOptions, HubOptions, Token};
use refit_remote::Credentials;
use serde_json::Value;

use crate::config::{CacheConfig, Config, ConfigError, Layer, Origin, Scope, Secret};

/// What is set, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// All variables, for the commands of stages, which get what they declare.
    pub(crate) variables: Variables,
    /// What counts: every layer over the ones below it. Defaults are left out.
    pub(crate) config: Config,
    /// The store's folder that was asked for.
    pub(crate) store: Option<PathBuf>,
    /// `TERM` names a terminal that can redraw lines.
    pub(crate) redraws: bool,
    /// The lowest first.
    layers: Vec<Layer>,
    /// What it was read for.
    place: PathBuf,
    folders: Folders,
}

/// The user's folders.
#[derive(Debug, Clone, Default)]
struct Folders {
    home: PathBuf,
    config: PathBuf,
    caches: PathBuf,
    /// The `.refit` whose files count here.
    project: PathBuf,
}

impl Folders {
    fn read() -> Self {
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").unwrap_or_else(env::temp_dir);
        Self {
            config: path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            caches: path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")),
            project: PathBuf::new(),
            home,
        }
    }
}

impl Environment {
    /// What the process itself says, without any file: enough to complain about one.
    pub(crate) fn bare(flags: &Config) -> Self {
        let color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let never = Config { color: color.then_some(crate::args::Color::Never), ..Config::default() };
        let redraws = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        Self {
            variables: env::vars_os().collect(),
            config: flags.clone().over(never),
            redraws,
            folders: Folders::read(),
            ..Self::default()
        }
    }

    /// All layers for what lies at `place`: a pipeline, or any file or folder.
    pub(crate) fn read(flags: Config, place: &Path) -> Result<Self, ConfigError> {
        let mut environment = Self::bare(&flags);
        let folders = &mut environment.folders;
        let place = env::current_dir().unwrap_or_default().join(place);
        let folder = if place.is_dir() { place.as_path() } else { place.parent().unwrap_or(&place) };
        folders.project = locate_store(folder);
        environment.place.clone_from(&place);
        let mut layers = Vec::new();
        for scope in [Scope::User, Scope::Project, Scope::Local] {
            let path = Layer::path(scope, &folders.config, &folders.project);
            layers.extend(Layer::file(scope, path, &folders.home)?);
        }
        layers.push(Layer::variables(variable)?);
        layers.push(Layer::flags(flags));
        environment.config = layers.iter().fold(Config::default(), |lower, layer| layer.config.clone().over(lower));
        environment.store.clone_from(&environment.config.store);
        environment.layers = layers;
        Ok(environment)
    }

    /// The same for the same place, as the files are now.
    pub(crate) fn again(&self) -> Result<Self, ConfigError> {
        let flags = self.layers.last().map(|layer| layer.config.clone()).unwrap_or_default();
        Self::read(flags, &self.place)
    }

    /// Every file that may set something here, whether it is there or not.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        [Scope::User, Scope::Project, Scope::Local].into_iter().map(|scope| self.file(scope))
    }

    /// The file of a scope, whether it is there or not.
    pub(crate) fn file(&self, scope: Scope) -> PathBuf {
        Layer::path(scope, &self.folders.config, &self.folders.project)
    }

    /// The folder of the project's files.
    pub(crate) fn project(&self) -> &Path {
        &self.folders.project
    }

    /// The value of a key and where it came from; none of one that is not set and has no default.
    pub(crate) fn find(&self, key: &str) -> Option<(Value, Origin)> {
        let defaults = Layer::defaults(self.defaults());
        let mut layers = self.layers.iter().rev().chain([&defaults]);
        layers.find_map(|layer| Some((layer.get(key)?, layer.origin(key, variable))))
    }

    /// The value that the file of a scope gives a key.
    pub(crate) fn find_in(&self, scope: Scope, key: &str) -> Option<Value> {
        self.layers.iter().find(|layer| layer.scope() == Some(scope))?.get(key)
    }

    fn defaults(&self) -> Config {
        let config = &self.config;
        let fetch = Self { config: Config::default(), ..self.clone() }.fetch_options();
        Config {
            jobs: std::num::NonZero::new(Config::default().jobs()),
            device: Some(crate::config::Device::default()),
            fusion: Some(true),
            gpus: None,
            keep_going: Some(false),
            color: Some(crate::args::Color::Auto),
            verbosity: Some(crate::config::Verbosity::default()),
            store: Some(self.folders.project.clone()),
            cache: CacheConfig {
                pull: Some(true),
                push: Some(true),
                timeout: Some(CacheConfig::TIMEOUT),
                ..CacheConfig::default()
            },
            fetch: crate::config::FetchConfig {
                offline: Some(false),
                downloads: Some(fetch.cache),
                certificates: None,
            },
            hub: crate::config::HubConfig {
                endpoint: Some(fetch.hub.endpoint),
                cache: fetch.hub.cache,
                token: config.hub.token.is_none().then(|| self.saved_token()).flatten().map(Secret::new),
            },
        }
    }

    /// How sources are fetched here.
    pub(crate) fn fetch_options(&self) -> FetchOptions {
        let Config { fetch, hub, .. } = &self.config;
        let token = hub.token.as_ref().map(|token| token.reveal().to_owned()).or_else(|| self.saved_token());
        FetchOptions {
            cache: fetch.downloads.clone().unwrap_or_else(|| self.folders.caches.join("refit").join("downloads")),
            offline: self.config.is_offline(),
            hub: HubOptions {
                endpoint: hub.endpoint.clone().unwrap_or_else(|| HubOptions::ENDPOINT.to_owned()),
                cache: Some(hub.cache.clone().unwrap_or_else(|| self.hub_home().join("hub"))),
                token: token.map(|token| Token::new(&token)),
            },
            certificates: fetch.certificates.clone(),
            ..FetchOptions::default()
        }
    }

    /// What the clouds' own variables say: how their buckets are opened.
    pub(crate) fn cloud_credentials() -> Credentials {
        let ours = |name: &str| name.starts_with("AWS_") || name.starts_with("GOOGLE_");
        let all =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Credentials(all.filter(|(name, value)| ours(name) && !value.is_empty()).collect())
    }

    /// What `huggingface-cli login` wrote.
    fn saved_token(&self) -> Option<String> {
        let file = variable("HF_TOKEN_PATH").map_or_else(|| self.hub_home().join("token"), PathBuf::from);
        fs_err::read_to_string(file).ok().filter(|token| !token.trim().is_empty())
    }

    fn hub_home(&self) -> PathBuf {
        variable("HF_HOME").map_or_else(|| self.folders.caches.join("huggingface"), PathBuf::from)
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
