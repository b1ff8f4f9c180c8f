use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;

use crate::{
    Digest, Manifest, StepKey, Store, StoreError, StoreLock, Tree, UsedResult,
    lookup::Read,
    object::{Check, ObjectState},
    store::list_sharded,
};

/// What `verify` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VerifyReport {
    /// Objects that were hashed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were checked.
    pub manifests: u64,
    /// Damaged objects that a result needs, and where they lie now.
    pub damaged_objects: Vec<(Digest, PathBuf)>,
    /// Damaged objects that no result needs, and where they lie now: a loss of power during a commit leaves such.
    pub damaged_leftovers: Vec<(Digest, PathBuf)>,
    /// Damaged manifests, what is wrong, and where they lie now.
    pub damaged_manifests: Vec<(StepKey, String, PathBuf)>,
    /// Objects that a manifest needs and that are gone, the damaged ones included.
    pub missing_objects: Vec<(StepKey, Digest)>,
    /// Manifests that the index knows of and that are gone. Looked for only with the lock.
    pub missing_manifests: Vec<StepKey>,
    /// Results that runs had before their steps were carried out anew, and that cannot be handed out any more.
    pub lost_earlier: Vec<UsedResult>,
    /// The manifests of results that lack objects.
    pub incomplete: BTreeMap<StepKey, Manifest>,
}

/// How far `verify` is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// So many are hashed.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

impl VerifyReport {
    /// Whether no result is lost.
    pub fn is_sound(&self) -> bool {
        let Self { damaged_manifests, missing_objects, missing_manifests, lost_earlier, .. } = self;
        damaged_manifests.is_empty()
            && missing_objects.is_empty()
            && missing_manifests.is_empty()
            && lost_earlier.is_empty()
    }

    /// The keys of all results that cannot be handed out any more and can be made anew.
    pub fn lost_results(&self) -> BTreeSet<StepKey> {
        let damaged = self.damaged_manifests.iter().map(|(key, ..)| *key);
        let incomplete = self.missing_objects.iter().map(|(key, _)| *key);
        damaged.chain(incomplete).chain(self.missing_manifests.iter().copied()).collect()
    }
}

impl Store {
    /// Hashes every object and checks every manifest; moves aside what is damaged.
    ///
    /// Works without the lock, beside a run. With it, the index is asked whether manifests are gone.
    pub fn verify(&self, lock: Option<&StoreLock>) -> Result<VerifyReport, StoreError> {
        let mut report = self.verify_files(&|_| {})?;
        if let Some(lock) = lock {
            self.verify_index(lock, &mut report);
        }
        Ok(report)
    }

    /// The part of [`verify`](Self::verify) that reads all files. `watch` is called from several threads.
    pub fn verify_files(&self, watch: &(dyn Fn(Verified) + Sync)) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let mut objects = BTreeMap::new();
        for (name, path) in list_sharded(&self.folder("objects"), "")? {
            if let (Ok(object), Ok(metadata)) = (name.parse::<Digest>(), path.symlink_metadata()) {
                objects.insert(object, metadata.len());
            }
        }
        let mut damaged = BTreeMap::new();
        for (object, bytes, state) in self.hash_all(&objects, watch)? {
            report.objects += 1;
            report.bytes += bytes;
            match state {
                ObjectState::Sound => {}
                ObjectState::Missing => drop(objects.remove(&object)),
                ObjectState::Damaged(path) => {
                    objects.remove(&object);
                    damaged.insert(object, path);
                }
            }
        }
        let mut needed_and_gone = BTreeSet::new();
        // One that was committed since the folder was listed is there; a damaged one may be, too.
        let gone = |manifest: &Manifest| -> BTreeSet<Digest> {
            let needed = manifest.trees().flat_map(Tree::objects).map(|(object, _)| object);
            needed
                .filter(|object| !objects.contains_key(object))
                .filter(|object| damaged.contains_key(object) || !self.object_path(object).exists())
                .collect()
        };
        for (key, path) in self.manifest_files()? {
            report.manifests += 1;
            match self.read_manifest(&key)? {
                Read::Manifest(manifest) => {
                    let gone = gone(&manifest);
                    if !gone.is_empty() {
                        report.missing_objects.extend(gone.iter().map(|object| (key, *object)));
                        report.incomplete.insert(key, *manifest);
                        needed_and_gone.extend(gone);
                    }
                }
                Read::Absent => {}
                Read::Damaged(what) => report.damaged_manifests.push((key, what, self.quarantine(&path))),
            }
        }
        for (key, outputs, path) in self.earlier_files()? {
            report.manifests += 1;
            let gone = match self.read_earlier(&key, &outputs)? {
                Read::Manifest(manifest) => gone(&manifest),
                Read::Absent => continue,
                Read::Damaged(_) => {
                    self.quarantine(&path);
                    report.lost_earlier.push(UsedResult { key, outputs: Some(outputs) });
                    continue;
                }
            };
            if !gone.is_empty() {
                // Said once: nothing makes it again.
                self.quarantine(&path);
                report.lost_earlier.push(UsedResult { key, outputs: Some(outputs) });
                needed_and_gone.extend(gone);
            }
        }
        (report.damaged_objects, report.damaged_leftovers) =
            damaged.into_iter().partition(|(object, _)| needed_and_gone.contains(object));
        Ok(report)
    }

    /// The part of [`verify`](Self::verify) that asks the index which manifests are gone, and lets it forget them.
    pub fn verify_index(&self, lock: &StoreLock, report: &mut VerifyReport) {
        let mut gone = lock.index.keys();
        let damaged: BTreeSet<StepKey> = report.damaged_manifests.iter().map(|(key, ..)| *key).collect();
        gone.retain(|key| !damaged.contains(key) && !self.manifest_path(key).exists());
        report.missing_manifests.extend(&gone);
        // Said once: what is gone is recomputed when it is needed.
        lock.index.forget(&gone.into_iter().chain(damaged).collect::<Vec<_>>());
    }

    fn hash_all(
        &self,
        objects: &BTreeMap<Digest, u64>,
        watch: &(dyn Fn(Verified) + Sync),
    ) -> Result<Vec<(Digest, u64, ObjectState)>, StoreError> {
        let total = objects.values().sum();
        let hashed = AtomicU64::new(0);
        // The largest first: otherwise one thread may be left alone with it at the end.
        let mut order: Vec<(Digest, u64)> = objects.iter().map(|(object, bytes)| (*object, *bytes)).collect();
        order.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        order
            .par_iter()
            .map(|(object, bytes)| {
                let state = self.check_object(*object, *bytes, Check::Bytes)?;
                watch(Verified { done: hashed.fetch_add(*bytes, Ordering::Relaxed) + bytes, total });
                Ok((*object, *bytes, state))
            })
            .collect()
    }
}
