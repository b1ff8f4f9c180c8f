use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Config, ConfigError, ConfigFile, Scope, file::user_file, from_variables, keys::find, variables::setter};

/// One source of settings.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) config: Config,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Default,
    File(ConfigFile),
    Variables,
    Flags,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// A file.
    File {
        /// Whose file.
        scope: Scope,
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
    },
    /// A variable of the environment.
    Variable(&'static str),
    /// The command line.
    Flag,
}

impl Layer {
    /// The committed file, in the folder of the store.
    pub(crate) const PROJECT_FILE: &'static str = "config.toml";
    /// The file of one user for one project, likewise.
    pub(crate) const LOCAL_FILE: &'static str = "config.local.toml";

    /// What holds where nobody says anything.
    pub(crate) fn defaults(config: Config) -> Self {
        Self { config, kind: Kind::Default }
    }

    /// What the command line says.
    pub(crate) fn flags(config: Config) -> Self {
        Self { config, kind: Kind::Flags }
    }

    /// What the environment says.
    pub(crate) fn variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        Ok(Self { config: from_variables(variable)?, kind: Kind::Variables })
    }

    /// The file of a scope.
    pub(crate) fn path(scope: Scope, config_home: &Path, store: &Path) -> PathBuf {
        match scope {
            Scope::User => user_file(config_home),
            Scope::Project => store.join(Self::PROJECT_FILE),
            Scope::Local => store.join(Self::LOCAL_FILE),
        }
    }

    /// What a file says; none if it is not there.
    pub(crate) fn file(scope: Scope, path: PathBuf, home: &Path) -> Result<Option<Self>, ConfigError> {
        let Some(file) = ConfigFile::read(scope, path)? else { return Ok(None) };
        let mut config = file.config()?;
        let folder = file.path.parent().unwrap_or(Path::new("."));
        // The files of a project lie in `.refit`; what they name lies beside that folder.
        let base = if scope == Scope::User { folder } else { folder.parent().unwrap_or(folder) };
        config.rebase(base, home);
        Ok(Some(Self { config, kind: Kind::File(file) }))
    }

    /// Whose file it is, if it is one.
    pub(crate) fn scope(&self) -> Option<Scope> {
        if let Kind::File(file) = &self.kind { Some(file.scope) } else { None }
    }

    /// The value it gives a key.
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        find(&serde_json::to_value(&self.config).ok()?, key).cloned()
    }

    /// Where it says so.
    pub(crate) fn origin(&self, key: &str, variable: impl Fn(&str) -> Option<OsString>) -> Origin {
        match &self.kind {
            Kind::Default => Origin::Default,
            Kind::Flags => Origin::Flag,
            Kind::File(file) => Origin::File { scope: file.scope, path: file.path.clone(), line: file.line_of(key) },
            Kind::Variables => setter(key, variable).map_or(Origin::Default, Origin::Variable),
        }
    }
}
