//! Results that machines share.
//!
//! ```text
//! PLACE/manifests/ab/cdef….json   by step key: a line with the signature, then the manifest as it lies in a store
//! PLACE/objects/ab/cdef…          by digest: the bytes of one file of an artifact
//! ```
//!
//! Objects are there before the manifest that names them, so what a reader finds is whole. Nothing that is there is copied
//! again, and nothing that comes from there counts before its digest was checked. A place that cannot be reached costs one
//! warning, never the run.

mod client;
mod envelope;
mod error;
mod layout;
mod location;
mod options;
mod pull;
mod push;
mod remote_cache;

pub use self::{
    envelope::SigningKey,
    error::RemoteError,
    location::Location,
    options::{Credentials, RemoteOptions},
    remote_cache::RemoteCache,
};
