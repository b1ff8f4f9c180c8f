use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use miette::Diagnostic;
use refit_cache::{Digest, Store, StoreError, StoreLock};
use thiserror::Error;

use super::{LockFile, LockedSource};
use crate::{
    fetch::{Fetch, FetchError, Fetched},
    graph::{Pipeline, PipelineError, SourceRef, SourceUri},
    stage::StageError,
};

/// What is known of every source of a pipeline: its content, and where it lies on this machine.
///
/// A source that was fetched once is known by `refit.lock` even where its files are not here, so that a plan needs no
/// download, and a run needs one only when a step that reads the source must run.
pub struct Sources {
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    reference: SourceRef,
    path: Option<PathBuf>,
    digest: Option<Digest>,
    revision: Option<String>,
    /// Why its content cannot be known, though it lies on this machine.
    unreadable: Option<StageError>,
}

/// Why a source cannot be used.
#[derive(Debug, Error, Diagnostic)]
pub enum SourceError {
    /// Its content is not what was pinned.
    #[error("the source `{name}` ({uri}) is not what it was: expected {expected}, found {found}")]
    #[diagnostic(code(source::mismatch), help("{way_out}"))]
    Mismatch {
        /// The source's name.
        name: String,
        /// Where it comes from.
        uri: String,
        /// The digest pinned.
        expected: Digest,
        /// The digest found.
        found: Digest,
        /// What to do.
        way_out: String,
    },
    /// It could not be fetched.
    #[error("the source `{name}` could not be fetched")]
    #[diagnostic(code(source::fetch))]
    Fetch {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        #[diagnostic_source]
        error: FetchError,
    },
    /// It could not be read.
    #[error("the source `{name}` could not be read")]
    #[diagnostic(code(source::read))]
    Read {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        #[diagnostic_source]
        error: StoreError,
    },
    /// `refit.lock` could not be used.
    #[error("{} cannot be used: {message}", file.display())]
    #[diagnostic(code(source::lock_file), help("correct it, or delete it to record the sources anew"))]
    LockFile {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
        /// What is wrong in its text.
        #[related]
        mistakes: Vec<PipelineError>,
    },
}

impl SourceError {
    /// As the failure of a stage that reads the source.
    pub(crate) fn as_failure(&self) -> StageError {
        let mut made = StageError::new("source::unavailable", self.to_string());
        if let Some(cause) = std::error::Error::source(self) {
            made = made.caused_by(cause);
        }
        let help = self.help().map(|help| help.to_string());
        made.help = help.or_else(|| Some(self.diagnostic_source()?.help()?.to_string()));
        made
    }
}

impl Sources {
    /// Looks at every source without fetching anything. A path that cannot be read, or that holds what has no content, such as
    /// a pipe, is the business of the stages that read it: see [`unreadable`](Self::unreadable).
    ///
    /// With the store's lock, files that did not change since they were last read are not read again.
    pub fn look(
        pipeline: &Pipeline,
        store: &Store,
        lock: Option<&StoreLock>,
        fetcher: &dyn Fetch,
    ) -> Result<Self, SourceError> {
        let lock_file = LockFile::read(&LockFile::path(pipeline))?;
        let mut sources = Self { known: BTreeMap::new() };
        for reference in pipeline.sources.values() {
            let locked = lock_file.get(reference);
            let mut known = Known {
                reference: reference.clone(),
                path: None,
                digest: reference.digest.or(locked.map(|locked| locked.digest)),
                revision: locked.and_then(|locked| locked.revision.clone()),
                unreadable: None,
            };
            let is_path = matches!(reference.uri, SourceUri::Path(_));
            match known.here(fetcher).map_or(Ok(()), |fetched| known.take(fetched, store, lock)) {
                Err(error @ SourceError::Read { .. }) if is_path => known.unreadable = Some(error.as_failure()),
                looked => looked?,
            }
            sources.known.insert(reference.name.clone(), known);
        }
        Ok(sources)
    }

    /// The content of a source, as far as it is known without fetching.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.known.get(name)?.digest
    }

    /// Why the content of a source on this machine cannot be known. No stage that reads it can have a key, or a result.
    pub fn unreadable(&self, name: &str) -> Option<&StageError> {
        self.known.get(name)?.unreadable.as_ref()
    }

    /// Looks once more at a source that could not be read.
    ///
    /// # Errors
    /// It still cannot be.
    pub fn insist(
        &mut self,
        name: &str,
        (store, lock): (&Store, &StoreLock),
        fetcher: &dyn Fetch,
    ) -> Result<(), SourceError> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        known.here(fetcher).map_or(Ok(()), |fetched| known.take(fetched, store, Some(lock)))?;
        known.unreadable = None;
        Ok(())
    }

    /// Where a source lies on this machine, if it is here.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.known.get(name)?.path.as_deref()
    }

    /// Where each source lies that is on this machine, and its content.
    pub fn here(&self) -> impl Iterator<Item = (&Path, Digest)> {
        self.known.values().filter_map(|known| Some((known.path.as_deref()?, known.digest?)))
    }

    /// Where a source is to be fetched from.
    pub fn uri(&self, name: &str) -> Option<SourceUri> {
        self.known.get(name).map(Known::uri)
    }

    /// Takes a source that was just fetched.
    pub fn arrived(
        &mut self,
        name: &str,
        fetched: Fetched,
        store: &Store,
        lock: &StoreLock,
    ) -> Result<(), SourceError> {
        self.known.get_mut(name).map_or(Ok(()), |known| known.take(fetched, store, Some(lock)))
    }

    /// Every source whose content is known: its name, where it comes from, and its content.
    pub fn known(&self) -> impl Iterator<Item = (&str, &SourceUri, Digest)> {
        self.known.iter().filter_map(|(name, known)| Some((name.as_str(), &known.reference.uri, known.digest?)))
    }

    /// What `refit.lock` should hold: every source that came from elsewhere and is known.
    pub fn lock_file(&self) -> LockFile {
        let remote = self.known.values().filter(|known| !matches!(known.reference.uri, SourceUri::Path(_)));
        let sources = remote.filter_map(|known| {
            let from = known.reference.uri.to_string();
            Some((
                known.reference.name.clone(),
                LockedSource { from, digest: known.digest?, revision: known.revision.clone() },
            ))
        });
        LockFile::new(sources.collect())
    }
}

impl Known {
    /// Where it comes from. A branch of a repository stays at the commit that `refit.lock` remembers, however the branch
    /// has moved since.
    fn uri(&self) -> SourceUri {
        match &self.reference.uri {
            SourceUri::HuggingFace { repo, file, .. } if self.revision.is_some() => {
                SourceUri::HuggingFace { repo: repo.clone(), revision: self.revision.clone(), file: file.clone() }
            }
            uri => uri.clone(),
        }
    }

    /// What is on this machine.
    fn here(&self, fetcher: &dyn Fetch) -> Option<Fetched> {
        match self.uri() {
            SourceUri::Path(path) => Some(Fetched { path, revision: None }),
            uri => fetcher.cached(&uri),
        }
    }

    fn take(&mut self, fetched: Fetched, store: &Store, lock: Option<&StoreLock>) -> Result<(), SourceError> {
        let name = &self.reference.name;
        let found =
            store.measure(&fetched.path, lock).map_err(|error| SourceError::Read { name: name.clone(), error })?.digest;
        if let Some(expected) = self.digest.filter(|expected| *expected != found) {
            let way_out = if self.reference.digest.is_some() {
                format!("if the change is meant, pin the new content: digest: b3:{found}")
            } else {
                format!("if the change is meant, delete the entry `{name}` from {}", LockFile::NAME)
            };
            let uri = self.reference.uri.to_string();
            return Err(SourceError::Mismatch { name: name.clone(), uri, expected, found, way_out });
        }
        self.digest = Some(found);
        self.path = Some(fetched.path);
        self.revision = fetched.revision.or(self.revision.take());
        Ok(())
    }
}
