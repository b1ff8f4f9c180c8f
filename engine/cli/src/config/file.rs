//! A configuration file: read with its places, changed without touching what else stands in it.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use miette::LabeledSpan;
use refit_engine::source::did_you_mean;
use serde_json::Value;
use toml::de::{DeTable, DeValue};
use toml_edit::{DocumentMut, Item, Table};

use super::{Config, ConfigError, Key, keys, known};

/// Whose settings a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// This user's, on this machine.
    User,
    /// Everybody's who works on the project; committed.
    Project,
    /// This user's for this project; not committed.
    Local,
}

impl Scope {
    /// Whether others get to see it.
    pub(crate) fn is_shared(self) -> bool {
        self == Self::Project
    }

    /// One word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Project => "project",
            Self::Local => "local",
        }
    }
}

/// A configuration file as it stands.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    pub(crate) scope: Scope,
    pub(crate) path: PathBuf,
    text: String,
}

/// The keys whose values nobody else should see.
const SECRETS: [&str; 2] = ["cache.signing_key", "hub.token"];

impl ConfigFile {
    /// Reads a file; none if it is not there.
    pub(crate) fn read(scope: Scope, path: PathBuf) -> Result<Option<Self>, ConfigError> {
        match fs_err::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { scope, path, text })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(ConfigError::io(&error)),
        }
    }

    /// A file that is not there yet.
    pub(crate) fn empty(scope: Scope, path: PathBuf) -> Self {
        Self { scope, path, text: String::new() }
    }

    /// What it sets, as it is written.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(&self.text).map_err(|error| self.mistakes(&error))?;
        let secret = [config.cache.signing_key.is_some(), config.hub.token.is_some()];
        match SECRETS.iter().zip(secret).find(|(_, is_set)| *is_set && self.scope.is_shared()) {
            None => Ok(config),
            Some((name, _)) => {
                let place = self.place(name).map(|(start, end)| LabeledSpan::at(start..end, "others can read this"));
                let message = format!("`{name}` is a secret, and this file is meant to be committed");
                let help = Some(ConfigError::SECRET_HELP.to_owned());
                Err(ConfigError::file(&self.path, &self.text, message, place.into_iter().collect(), help))
            }
        }
    }

    /// The line, from 1, in which a key is set.
    pub(crate) fn line_of(&self, key: &str) -> Option<usize> {
        let (start, _) = self.place(key)?;
        Some(1 + self.text[..start].matches('\n').count())
    }

    /// All unknown keys at once; if there are none, what the parser stumbled over.
    fn mistakes(&self, error: &toml::de::Error) -> ConfigError {
        let mut unknown = Vec::new();
        if let Ok(table) = DeTable::parse(&self.text) {
            collect_unknown("", table.get_ref(), &mut unknown);
        }
        if let [(first, ..), ..] = unknown.as_slice() {
            let message = match unknown.len() {
                1 => format!("there is no setting `{first}`"),
                more => format!("there are no such settings: {more} mistakes"),
            };
            let places = unknown.iter().map(|(name, start, end)| {
                LabeledSpan::at(*start..*end, suggestion(name).unwrap_or_else(|| "unknown".to_owned()))
            });
            let help = Some("`refit config show` lists all settings".to_owned());
            return ConfigError::file(&self.path, &self.text, message, places.collect(), help);
        }
        let place = error.span().map(|span| LabeledSpan::at(span, error.message().trim().to_owned()));
        let message = "this configuration file cannot be used".to_owned();
        ConfigError::file(&self.path, &self.text, message, place.into_iter().collect(), None)
    }

    /// The bytes of the value of a key.
    fn place(&self, key: &str) -> Option<(usize, usize)> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut at = table.get_ref();
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            let (_, value) = at.iter().find(|(name, _)| name.get_ref() == part)?;
            match value.get_ref() {
                DeValue::Table(inner) if parts.peek().is_some() => at = inner,
                _ => return Some((value.span().start, value.span().end)),
            }
        }
        None
    }

    /// Sets a key, or with no value unsets it, and writes the file.
    pub(crate) fn set(&mut self, key: &Key, value: Option<&str>) -> Result<(), ConfigError> {
        if self.scope.is_shared() && value.is_some() && SECRETS.contains(&key.name.as_str()) {
            return Err(ConfigError::Secret { name: key.name.clone() });
        }
        // What is wrong already is shown as it stands.
        self.config()?;
        let invalid = |why: String| ConfigError::BadValue {
            name: key.name.clone(),
            value: value.unwrap_or_default().to_owned(),
            why,
        };
        let mut document: DocumentMut = self.text.parse().map_err(|error: toml_edit::TomlError| {
            ConfigError::file(&self.path, &self.text, error.message().to_owned(), Vec::new(), None)
        })?;
        let parts: Vec<&str> = key.name.split('.').collect();
        let (last, above) = parts.split_last().ok_or_else(|| invalid("it has no name".into()))?;
        let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
        for part in above {
            let item = table.entry(part).or_insert_with(|| Item::Table(Table::new()));
            table = item.as_table_like_mut().ok_or_else(|| invalid(format!("`{part}` is no table")))?;
        }
        match value {
            None => {
                table.remove(last);
            }
            Some(text) => {
                let new = match key.value(text) {
                    Value::Number(number) => toml_edit::value(number.as_i64().unwrap_or(i64::MAX)),
                    Value::Bool(truth) => toml_edit::value(truth),
                    _ => toml_edit::value(text),
                };
                match table.get_mut(last) {
                    // The comment behind the old value stays.
                    Some(Item::Value(old)) => {
                        let decor = old.decor().clone();
                        if let Ok(mut new) = new.into_value() {
                            *new.decor_mut() = decor;
                            *old = new;
                        }
                    }
                    _ => {
                        table.insert(last, new);
                    }
                }
            }
        }
        let text = document.to_string();
        let _: Config = toml::from_str(&text).map_err(|error| invalid(error.message().trim().to_owned()))?;
        refit_cache::write_atomic(&self.path, text.as_bytes()).map_err(|error| ConfigError::Io {
            message: format!("{} cannot be written: {error}", self.path.display()),
        })?;
        self.text = text;
        Ok(())
    }
}

impl Key {
    /// The key of that name, or an error that names what was probably meant.
    pub(crate) fn named(name: &str) -> Result<&'static Self, ConfigError> {
        known(name).ok_or_else(|| ConfigError::UnknownKey {
            name: name.to_owned(),
            help: suggestion(name).or_else(|| Some("`refit config show` lists all settings".to_owned())),
        })
    }
}

/// ``did you mean `cache.remote`?``, also when only its last part was written.
fn suggestion(written: &str) -> Option<String> {
    let names = || keys().iter().map(|key| key.name.as_str());
    let table = written.rsplit_once('.').map(|(table, _)| table);
    let same_table = names().filter(|name| name.rsplit_once('.').map(|(table, _)| table) == table);
    did_you_mean(written, same_table).or_else(|| did_you_mean(written, names())).or_else(|| {
        let last = written.rsplit('.').next()?;
        let found = names().find(|name| name.rsplit('.').next() == Some(last))?;
        Some(format!("did you mean `{found}`?"))
    })
}

fn collect_unknown(prefix: &str, table: &DeTable<'_>, unknown: &mut Vec<(String, usize, usize)>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let below = format!("{name}.");
        match value.get_ref() {
            DeValue::Table(inner) if keys().iter().any(|key| key.name.starts_with(&below)) => {
                collect_unknown(&below, inner, unknown);
            }
            // A value where a table belongs is for the parser to complain about.
            _ if known(&name).is_some() || keys().iter().any(|key| key.name.starts_with(&below)) => {}
            _ => unknown.push((name, key.span().start, key.span().end)),
        }
    }
}

/// Where the user's own file lies.
pub(super) fn user_file(config_home: &Path) -> PathBuf {
    config_home.join("refit").join("config.toml")
}
