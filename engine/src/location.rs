//! Where the store of a pipeline is.

use std::path::{Path, PathBuf};

/// The store's folder name.
pub const STORE_NAME: &str = ".refit";

/// The nearest `.refit/` at or above `folder`; else a new one at the nearest folder above that holds `.git`; else one
/// beside the pipeline.
pub fn locate_store(folder: &Path) -> PathBuf {
    let holder = |name: &str| folder.ancestors().find(|above| above.join(name).exists());
    holder(STORE_NAME).or_else(|| holder(".git")).unwrap_or(folder).join(STORE_NAME)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_store_wins_then_the_repository_then_the_pipeline() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("repo/pipelines/helpdesk");
        fs_err::create_dir_all(&folder).unwrap();
        assert_eq!(locate_store(&folder), folder.join(".refit"));
        fs_err::create_dir_all(root.path().join("repo/.git")).unwrap();
        assert_eq!(locate_store(&folder), root.path().join("repo/.refit"));
        fs_err::create_dir_all(root.path().join("repo/pipelines/.refit")).unwrap();
        assert_eq!(locate_store(&folder), root.path().join("repo/pipelines/.refit"));
    }
}
