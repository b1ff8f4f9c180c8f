//! Content-addressed store of refit: objects by blake3, manifests, runs, a rebuildable index.
//!
//! ```text
//! sources ── measure ──► digests ──► StepKey ── lookup ──► hit: hydrate, export
//!                                                 └─ miss: run the step ── ingest ──► commit
//! ```
//!
//! One process at a time commits, with [`StoreLock`]. Any number of readers work beside it without a lock. What is
//! damaged on disk is found, moved aside, and never handed out.

#[macro_use]
mod failpoint;

mod bundle;
pub mod canonical;
mod committer;
#[cfg(test)]
mod crash;
mod digest;
mod durable;
mod earlier;
mod error;
mod export;
mod gc;
mod hashing;
mod hydrate;
mod index;
mod ingest;
mod key;
mod lock;
mod lookup;
mod manifest;
mod measure;
mod object;
mod pins;
mod quiet;
mod receive;
mod remote;
mod run_id;
mod runs;
mod snapshot;
mod standing;
mod stat;
mod store;
mod tree;
mod usage;
mod used;
mod verify;
mod walk;
mod witness;

pub use self::{
    bundle::{Bundled, Imported},
    canonical::{CanonicalWriter, canonical},
    committer::{Committed, Committer},
    digest::{Digest, ParseDigestError, StepKey},
    durable::{write_atomic, write_atomic_with},
    error::StoreError,
    export::Exported,
    gc::{DroppedResult, GcPolicy, GcReport},
    ingest::Taken,
    key::KEY_FORMAT,
    lock::{Holder, StoreLock, Wait},
    lookup::Lookup,
    manifest::{MANIFEST_FORMAT, Manifest, Unreadable},
    pins::{Pin, Pinned},
    remote::{Pull, Pushed, Remote, RemoteFuture},
    run_id::{ParseRunIdError, RunId},
    standing::Standing,
    store::Store,
    tree::{Content, Entry, Tree},
    usage::Usage,
    used::UsedResult,
    verify::{Verified, VerifyReport},
    witness::Witness,
};
