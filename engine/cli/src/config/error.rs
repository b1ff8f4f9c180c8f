use std::path::Path;

use miette::{Diagnostic, LabeledSpan, NamedSource};
use thiserror::Error;

use super::Layer;

/// A setting that cannot be what it is set to.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum ConfigError {
    /// Of a file: all mistakes found in it.
    #[error("{message}")]
    #[diagnostic(code(config::invalid))]
    File {
        /// One sentence.
        message: String,
        /// The file.
        #[source_code]
        text: NamedSource<String>,
        /// Where.
        #[label(collection)]
        places: Vec<LabeledSpan>,
        /// The way out.
        #[help]
        help: Option<String>,
    },
    /// Of a variable.
    #[error("the variable {name} is `{value}`: {why}")]
    #[diagnostic(code(config::variable), help("correct it, or unset it"))]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What speaks against it.
        why: String,
    },
    /// A file that cannot be read or written.
    #[error("{message}")]
    #[diagnostic(code(config::io), help("check who owns it and its mode"))]
    Io {
        /// Which file, and what the system said.
        message: String,
    },
    /// A key given on the command line that there is not.
    #[error("there is no setting `{name}`")]
    #[diagnostic(code(config::unknown_key))]
    UnknownKey {
        /// What was given.
        name: String,
        /// What was probably meant.
        #[help]
        help: Option<String>,
    },
    /// A value given on the command line that the key cannot have.
    #[error("`{name}` cannot be `{value}`: {why}")]
    #[diagnostic(code(config::bad_value), help("`refit config show` lists all settings with what they mean"))]
    BadValue {
        /// The key.
        name: String,
        /// What was given.
        value: String,
        /// What speaks against it.
        why: String,
    },
    /// A secret for a file that is committed.
    #[error("`{name}` is a secret, and {} is meant to be committed", Layer::PROJECT_FILE)]
    #[diagnostic(code(config::secret), help("{}", Self::SECRET_HELP))]
    Secret {
        /// The key.
        name: String,
    },
}

impl ConfigError {
    /// Where a secret belongs.
    pub(super) const SECRET_HELP: &'static str = "put it into .refit/config.local.toml (`refit config set --local`), into your own file (`--user`), or into a variable";

    pub(super) fn variable(name: &'static str, value: &str, why: String) -> Self {
        Self::Variable { name, value: value.to_owned(), why }
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        Self::Io { message: error.to_string() }
    }

    pub(super) fn file(
        path: &Path,
        text: &str,
        message: String,
        places: Vec<LabeledSpan>,
        help: Option<String>,
    ) -> Self {
        let text = NamedSource::new(path.display().to_string(), text.to_owned()).with_language("toml");
        Self::File { message, text, places, help }
    }
}
