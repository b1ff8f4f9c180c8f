use serde::Deserialize;

use crate::download::Known;

/// What the hub says a repository holds at one commit.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    /// The commit.
    pub(crate) sha: String,
    #[serde(default)]
    pub(crate) siblings: Vec<Sibling>,
}

/// One file of a repository.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sibling {
    /// Its path in the repository.
    #[serde(rename = "rfilename")]
    pub(crate) path: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Debug, Deserialize)]
struct LargeFile {
    sha256: Option<String>,
    size: Option<u64>,
}

/// The branches and tags of a repository.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Refs {
    #[serde(default)]
    branches: Vec<Ref>,
    #[serde(default)]
    tags: Vec<Ref>,
}

#[derive(Debug, Deserialize)]
struct Ref {
    name: String,
}

impl Listing {
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.siblings.iter().map(|sibling| sibling.path.as_str()).collect()
    }

    pub(crate) fn find(&self, path: &str) -> Option<&Sibling> {
        self.siblings.iter().find(|sibling| sibling.path == path)
    }
}

impl Sibling {
    pub(crate) fn size(&self) -> Option<u64> {
        self.lfs.as_ref().and_then(|lfs| lfs.size).or(self.size)
    }

    /// Its digest: SHA-256 of large files, git's own for the others. A mirror may leave both out.
    pub(crate) fn known(&self) -> Option<Known> {
        let lfs = self.lfs.as_ref().and_then(|lfs| lfs.sha256.as_deref());
        lfs.or(self.blob_id.as_deref()).and_then(Known::from_etag)
    }
}

impl Refs {
    pub(crate) fn names(&self) -> Vec<&str> {
        self.branches.iter().chain(&self.tags).map(|name| name.name.as_str()).collect()
    }
}
