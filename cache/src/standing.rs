use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Digest, StepKey, Store, StoreError, Tree,
    object::{Check, ObjectState},
    stat::Stat,
};

/// Below this many files, a second thread is not worth waking.
const PARALLEL: usize = 512;

/// The files of the store that a set of results stands on: as long as they are untouched, [`Store::lookup`] would find
/// every one of these results, so that one look at each file replaces reading all the manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    manifests: Vec<(StepKey, Stat)>,
    objects: Vec<(Digest, u64)>,
}

impl Store {
    /// What results stand on that were just committed or looked up. None when one of them is gone by now.
    pub fn standing<'t>(&self, results: impl IntoIterator<Item = (StepKey, Vec<&'t Tree>)>) -> Option<Standing> {
        let mut standing = Standing::default();
        for (key, outputs) in results {
            let stat = Stat::of(&self.manifest_path(&key).metadata().ok()?);
            standing.manifests.push((key, stat));
            standing.objects.extend(outputs.into_iter().flat_map(Tree::objects));
        }
        // Many stages may have made the same bytes.
        standing.objects.sort_unstable();
        standing.objects.dedup();
        Some(standing)
    }

    /// Whether all that these results stand on is there, untouched.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn still_stands(&self, standing: &Standing) -> Result<bool, StoreError> {
        let manifest = |(key, stat): &(StepKey, Stat)| {
            self.manifest_path(key).metadata().is_ok_and(|metadata| Stat::of(&metadata) == *stat)
        };
        let object = |(object, bytes): &(Digest, u64)| {
            Ok(self.check_object(*object, *bytes, Check::Stat)? == ObjectState::Sound)
        };
        let Standing { manifests, objects } = standing;
        if manifests.len() + objects.len() < PARALLEL {
            return Ok(manifests.iter().all(manifest) && all(objects.iter().map(object))?);
        }
        let sound = manifests.par_iter().all(manifest);
        Ok(sound && objects.par_iter().map(object).try_reduce(|| true, |a, b| Ok::<_, StoreError>(a && b))?)
    }
}

fn all(mut checks: impl Iterator<Item = Result<bool, StoreError>>) -> Result<bool, StoreError> {
    checks.try_fold(true, |sound, check| Ok(sound && check?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing expectation is how a test fails")]

    use std::fs;

    use super::*;
    use crate::{MANIFEST_FORMAT, Manifest, Wait};

    #[test]
    fn results_stand_until_one_of_their_files_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let lock = store.lock("a test", Wait::Fail).unwrap();
        let out = folder.path().join("out");
        fs::write(&out, "text").unwrap();
        let tree = store.ingest(&lock, &out).unwrap();
        let key = StepKey::from_bytes([5; 32]);
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            key,
            kind: "clean".into(),
            version: 1,
            params: serde_json::json!({}),
            inputs: std::collections::BTreeMap::new(),
            outputs: [("out".to_owned(), tree.clone())].into(),
            log: None,
            facts: std::collections::BTreeMap::new(),
            warnings: Vec::new(),
            seconds: 0.0,
            peak_memory: 0,
            created: jiff::Timestamp::now(),
            run: "20261123T175301-4f2a9c".parse().unwrap(),
        };
        store.commit(&lock, &manifest).unwrap();
        let standing = store.standing([(key, vec![&tree])]).unwrap();
        assert!(store.still_stands(&standing).unwrap());

        let read: Standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap();
        assert_eq!(read, standing);

        let path = store.manifest_path(&key);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!store.still_stands(&standing).unwrap());
        assert_eq!(store.standing([(key, vec![&tree])]), None);
        fs::write(&path, bytes).unwrap();

        let standing = store.standing([(key, vec![&tree])]).unwrap();
        assert!(store.still_stands(&standing).unwrap());
        fs::remove_file(store.object_path(&Digest::of(b"text"))).unwrap();
        assert!(!store.still_stands(&standing).unwrap());
    }
}
