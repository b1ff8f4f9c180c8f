use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a person calls a run. Kept beside its record, because it can be changed at any time, also while a run goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Its name. Several runs may have the same one: the newest is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

/// Why a text is no name or tag of a run.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
pub enum LabelError {
    /// It has characters that would need quoting somewhere.
    #[error("`{text}` is no name of a run")]
    #[diagnostic(
        code(run::bad_label),
        help("a name or tag is at most 64 letters, digits, `.`, `_` and `-`, and begins with a letter or a digit")
    )]
    Shape {
        /// The text.
        text: String,
    },
    /// It means something else where a run is named.
    #[error("`{text}` is no name of a run: it already means {meaning}")]
    #[diagnostic(code(run::reserved_label), help("take another name"))]
    Reserved {
        /// The text.
        text: String,
        /// What it means.
        meaning: &'static str,
    },
}

/// The file in the run's folder.
const FILE: &str = "labels.json";

impl Labels {
    /// What the newest run is called where a run is named.
    pub const LATEST: &'static str = "latest";

    /// Reads the labels of the run whose folder that is. A run without the file has none, and one that cannot be read names
    /// nothing.
    pub fn read(folder: &Path) -> Self {
        fs_err::read(folder.join(FILE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Writes the labels; the folder must be there, so that a run that is just being removed does not come back.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.as_file().sync_all()?;
        file.persist(folder.join(FILE)).map_err(|error| error.error).map(drop)
    }

    /// Writes the labels of a run that begins, if it has any.
    pub(crate) fn write_any(&self, folder: &Path) -> io::Result<()> {
        if *self == Self::default() { Ok(()) } else { self.write(folder) }
    }

    /// A text that may be a name or a tag.
    ///
    /// # Errors
    /// One with other characters, or one that already means a run.
    pub fn checked(text: &str) -> Result<String, LabelError> {
        let owned = || text.to_owned();
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = text.chars().next().is_some_and(char::is_alphanumeric);
        if !begins || text.chars().count() > 64 || !text.chars().all(fits) {
            return Err(LabelError::Shape { text: owned() });
        }
        if text == Self::LATEST {
            return Err(LabelError::Reserved { text: owned(), meaning: "the newest run" });
        }
        if text.parse::<refit_cache::RunId>().is_ok() {
            return Err(LabelError::Reserved { text: owned(), meaning: "the run with that id" });
        }
        Ok(owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn labels_outlive_the_process_and_a_removed_run_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Labels::read(folder.path()), Labels::default());
        let labels = Labels { name: Some("baseline".into()), tags: ["a".into(), "b".into()].into() };
        labels.write(folder.path()).unwrap();
        assert_eq!(Labels::read(folder.path()), labels);
        let gone = folder.path().join("gone");
        assert!(labels.write(&gone).is_err() && !gone.exists());
    }

    #[test]
    fn a_name_is_a_word_that_means_nothing_else() {
        for good in ["baseline", "rank-8", "v1.2", "训练", "4f2"] {
            assert_eq!(Labels::checked(good).unwrap(), good);
        }
        for bad in ["", "-a", "a b", "a/b", "latest~1", "latest", "20261123T175301-4f2a9c", ".."] {
            assert!(Labels::checked(bad).is_err(), "{bad}");
        }
    }
}
