//! Content-addressed store of refit: objects by blake3, manifests, runs, a rebuildable index.
#![allow(clippy::todo, clippy::unused_self, clippy::needless_pass_by_value, unused_variables)]

pub mod canonical;
mod digest;
mod error;
mod key;
mod manifest;
mod run_id;
mod store;
mod tree;

pub use self::{
    digest::{Digest, ParseDigestError, StepKey},
    error::StoreError,
    key::KEY_FORMAT,
    manifest::{MANIFEST_FORMAT, Manifest},
    run_id::{ParseRunIdError, RunId},
    store::{Exported, GcPolicy, GcReport, Lookup, Store, StoreLock, Usage, VerifyReport, Wait, write_atomic},
    tree::{Content, Entry, Tree},
};
