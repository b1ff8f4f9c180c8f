//! What killed processes left: folders of steps, temporary files; and damaged files that nobody looked at.

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use walkdir::WalkDir;

use super::GcPolicy;
use crate::{
    Store, StoreError,
    durable::TEMPORARY_PREFIX,
    stat::{changed, is_older},
    store::names,
};

impl Store {
    /// All that nobody needs any more beside runs, results and objects.
    pub(super) fn leftovers(&self, policy: &GcPolicy) -> Result<Vec<PathBuf>, StoreError> {
        let mut found = Vec::new();
        for (_, path) in names(&self.tmp())? {
            if is_untouched(&path, policy.forget_after, modified) {
                found.push(path);
            }
        }
        for (_, path) in names(&self.folder("quarantine"))? {
            // An object's time is decided by its digest; when it was moved aside is what counts.
            if is_untouched(&path, policy.forget_after, changed) {
                found.push(path);
            }
        }
        // Where files are written beside their place: the root, manifests/ab, pins, exports, runs/ID.
        for folder in ["", "manifests", "pins", "exports", "runs"] {
            let files = WalkDir::new(self.folder(folder)).min_depth(1).max_depth(if folder.is_empty() { 1 } else { 2 });
            for entry in files.into_iter().flatten() {
                let temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
                if temporary && entry.file_type().is_file() && is_untouched(entry.path(), policy.grace, changed) {
                    found.push(entry.into_path());
                }
            }
        }
        Ok(found)
    }
}

fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

/// Whether nothing in it was touched for so long.
fn is_untouched(path: &Path, long: Duration, time: impl Fn(&Metadata) -> Option<SystemTime>) -> bool {
    let untouched = |metadata: Metadata| time(&metadata).is_some_and(|time| is_older(time, long));
    WalkDir::new(path).into_iter().all(|entry| entry.and_then(|entry| entry.metadata()).is_ok_and(untouched))
}
