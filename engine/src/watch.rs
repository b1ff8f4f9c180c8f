//! What a run reads, seen before it reads it: whatever changes after that shows, also while the run goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use refit_cache::Witness;

use crate::{
    graph::{Pipeline, SourceUri},
    stage::Variables,
};

/// Every file and folder on this machine that a run of the pipeline reads: its files, its sources, its tools.
pub fn reads(pipeline: &Pipeline, variables: &Variables) -> BTreeSet<PathBuf> {
    let sources = pipeline.sources.values().filter_map(|source| match &source.uri {
        SourceUri::Path(path) => Some(path.clone()),
        _ => None,
    });
    let tools = pipeline.stages.stages().flat_map(|node| &node.outside.tools);
    let tools = tools.filter_map(|tool| variables.tool(tool, &pipeline.folder));
    pipeline.files.iter().cloned().chain(sources).chain(tools).collect()
}

/// Files and folders as they were seen.
#[derive(Debug)]
pub struct Watched {
    paths: BTreeSet<PathBuf>,
    /// What lies in them and is not looked at: the store.
    apart: PathBuf,
    seen: BTreeMap<PathBuf, Witness>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Appeared,
    /// It is another one now, or its content is.
    Changed,
    /// It is no longer there.
    Gone,
}

impl Watched {
    /// Sees files, and folders with all that is in them but what is in `apart`.
    pub fn new(paths: BTreeSet<PathBuf>, apart: &Path) -> Self {
        let seen = see(&paths, apart);
        Self { paths, apart: apart.to_owned(), seen }
    }

    /// What is watched.
    pub fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.paths
    }

    /// What has changed since this was last asked, or since it was seen first. It costs a stat for each file.
    pub fn changes(&mut self) -> BTreeMap<PathBuf, Change> {
        if self.seen.values().all(Witness::holds) {
            return BTreeMap::new();
        }
        let now = see(&self.paths, &self.apart);
        let then = std::mem::replace(&mut self.seen, now);
        let before = then.iter().filter_map(|(path, old)| {
            let change = match self.seen.get(path) {
                Some(new) if new == old => return None,
                // That a folder looks different says only that something in it may: that is seen by itself.
                Some(new) if new.is_there() && path.is_dir() && old.is_there() => return None,
                Some(new) if new.is_there() && old.is_there() => Change::Changed,
                Some(new) if new.is_there() => Change::Appeared,
                _ => Change::Gone,
            };
            Some((path.clone(), change))
        });
        let new = self.seen.keys().filter(|path| !then.contains_key(*path));
        before.chain(new.map(|path| (path.clone(), Change::Appeared))).collect()
    }
}

/// A folder that cannot be listed is seen by its own look: what reads it says what is wrong with it.
fn see(paths: &BTreeSet<PathBuf>, apart: &Path) -> BTreeMap<PathBuf, Witness> {
    let seen = paths.iter().flat_map(|path| Witness::all(path, apart).unwrap_or_else(|_| vec![Witness::of(path)]));
    seen.map(|witness| (witness.path().to_owned(), witness)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

    use std::fs;

    use super::*;

    #[test]
    fn every_change_is_told_once_and_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("data/deep")).unwrap();
        for file in ["one.txt", "data/a", "data/deep/b"] {
            fs::write(at(file), "1").unwrap();
        }
        let paths = ["one.txt", "data", "later.txt"].map(at).into_iter().collect();
        let mut watched = Watched::new(paths, &at("data/.refit"));
        assert!(watched.changes().is_empty());

        fs::write(at("one.txt"), "12").unwrap();
        fs::write(at("data/deep/new"), "1").unwrap();
        fs::remove_file(at("data/a")).unwrap();
        fs::write(at("later.txt"), "1").unwrap();
        let expected = [
            ("data/a", Change::Gone),
            ("data/deep/new", Change::Appeared),
            ("later.txt", Change::Appeared),
            ("one.txt", Change::Changed),
        ];
        assert_eq!(watched.changes(), expected.map(|(name, change)| (at(name), change)).into_iter().collect());
        assert!(watched.changes().is_empty());

        // Another file put in its place, as editors do; a folder that came and went; what the store does.
        fs::write(at("swap"), "12").unwrap();
        fs::rename(at("swap"), at("one.txt")).unwrap();
        assert_eq!(watched.changes().keys().collect::<Vec<_>>(), [&at("one.txt")]);
        fs::write(at("data/x"), "").unwrap();
        fs::remove_file(at("data/x")).unwrap();
        fs::create_dir_all(at("data/.refit")).unwrap();
        fs::write(at("data/.refit/lock"), "").unwrap();
        assert!(watched.changes().is_empty());
    }
}
