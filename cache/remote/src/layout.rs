//! Names at the remote place.

use object_store::path::Path;
use refit_cache::{Digest, StepKey};

/// What all names begin with.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(crate) fn manifest(&self, key: &StepKey) -> Path {
        self.sharded("manifests", &key.to_string(), ".json")
    }

    pub(crate) fn object(&self, object: &Digest) -> Path {
        self.sharded("objects", &object.to_string(), "")
    }

    fn sharded(&self, folder: &str, hex: &str, extension: &str) -> Path {
        let (shard, name) = hex.split_at(2);
        Path::from(format!("{}/{folder}/{shard}/{name}{extension}", self.prefix))
    }
}
