//! Brings sources from elsewhere to this machine.
//!
//! The engine calls exactly this much: [`Fetcher::cached`], which touches no network, and [`Fetcher::resolve`].

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::graph::SourceUri;

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct FetchProgress {
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all, when known.
    pub total: Option<u64>,
}

/// A source that is here.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The file or folder.
    pub path: PathBuf,
    /// The commit it was resolved to, where there is such a thing.
    pub revision: Option<String>,
}

/// Why a source could not be fetched.
#[derive(Debug, Error, Diagnostic)]
pub enum FetchError {}

/// How to fetch.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// The download cache.
    pub cache: PathBuf,
}

/// Fetches sources into the download cache.
#[derive(Debug)]
pub struct Fetcher {}

impl Fetcher {
    /// A fetcher with these options.
    pub fn new(_options: FetchOptions) -> Self {
        Self {}
    }

    /// Where a source fetched earlier lies; asks nobody.
    pub fn cached(&self, _uri: &SourceUri) -> Option<Fetched> {
        None
    }

    /// Fetches a source unless it is here already.
    pub fn resolve(
        &self,
        uri: &SourceUri,
        _on_progress: &mut dyn FnMut(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        Ok(Fetched { path: PathBuf::from(uri.to_string()), revision: None })
    }
}
