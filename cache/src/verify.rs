use std::{collections::BTreeMap, path::PathBuf};

use rayon::prelude::*;

use crate::{
    Digest, StepKey, Store, StoreError, StoreLock, Tree,
    lookup::Read,
    object::{Check, ObjectState},
    store::list_sharded,
};

/// What `verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects that were hashed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were checked.
    pub manifests: u64,
    /// Damaged objects, and where they lie now.
    pub damaged_objects: Vec<(Digest, PathBuf)>,
    /// Damaged manifests, what is wrong, and where they lie now.
    pub damaged_manifests: Vec<(StepKey, String, PathBuf)>,
    /// Objects that a manifest needs and that are gone, the damaged ones included.
    pub missing_objects: Vec<(StepKey, Digest)>,
    /// Manifests that the index knows of and that are gone. Looked for only with the lock.
    pub missing_manifests: Vec<StepKey>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damaged_objects.is_empty()
            && self.damaged_manifests.is_empty()
            && self.missing_objects.is_empty()
            && self.missing_manifests.is_empty()
    }
}

impl Store {
    /// Hashes every object and checks every manifest; moves aside what is damaged.
    ///
    /// Works without the lock, beside a run. With it, the index is asked whether manifests are gone.
    pub fn verify(&self, lock: Option<&StoreLock>) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        let mut objects = BTreeMap::new();
        for (name, path) in list_sharded(&self.folder("objects"), "")? {
            if let (Ok(object), Ok(metadata)) = (name.parse::<Digest>(), path.symlink_metadata()) {
                objects.insert(object, metadata.len());
            }
        }
        let states = objects
            .par_iter()
            .map(|(object, bytes)| Ok((*object, *bytes, self.check_object(*object, *bytes, Check::Bytes)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        for (object, bytes, state) in states {
            report.objects += 1;
            report.bytes += bytes;
            match state {
                ObjectState::Sound => {}
                ObjectState::Missing => drop(objects.remove(&object)),
                ObjectState::Damaged(path) => {
                    objects.remove(&object);
                    report.damaged_objects.push((object, path));
                }
            }
        }
        let mut expected = lock.map(|lock| lock.index.keys()).unwrap_or_default();
        for (key, path) in self.manifest_files()? {
            expected.remove(&key);
            report.manifests += 1;
            match self.read_manifest(&key)? {
                Read::Manifest(manifest) => {
                    let needed = manifest.outputs.values().flat_map(Tree::objects);
                    for (object, _) in needed.filter(|(object, _)| !objects.contains_key(object)) {
                        // One that was committed since the folder was listed is there.
                        if !self.object_path(&object).exists() {
                            report.missing_objects.push((key, object));
                        }
                    }
                }
                Read::Absent => {}
                Read::Damaged(what) => report.damaged_manifests.push((key, what, self.quarantine(&path))),
            }
        }
        if let Some(lock) = lock {
            report.missing_manifests.extend(&expected);
            // Said once: what is gone is recomputed when it is needed.
            let damaged = report.damaged_manifests.iter().map(|(key, ..)| *key);
            lock.index.forget(&report.missing_manifests.iter().copied().chain(damaged).collect::<Vec<_>>());
        }
        Ok(report)
    }
}
