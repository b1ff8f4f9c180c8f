//! Results that were made anew with other outputs: the key finds the newest, the records of runs name any of them.

use std::{io::Write, path::PathBuf};

use tempfile::NamedTempFile;

use crate::{
    Digest, Manifest, StepKey, Store, StoreError, Tree, UsedResult,
    durable::{Dirty, folder_of, rename_temporary, write_beside},
    lookup::{Read, read_manifest_at},
    object::{Check, ObjectState},
    store::list_sharded,
};

/// A manifest as it lies in the store.
pub(crate) struct Kept {
    pub(crate) manifest: Manifest,
    pub(crate) path: PathBuf,
    /// Whether it is what its key finds.
    pub(crate) is_current: bool,
}

/// The manifest of an earlier result on its way to its name.
pub(crate) struct Earlier {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl Manifest {
    /// The result as the records of runs name it.
    pub fn used(&self) -> UsedResult {
        UsedResult::new(self.key, self.outputs.iter().map(|(port, tree)| (port.as_str(), tree.digest)))
    }
}

impl Store {
    /// The manifest of the very result that a run had, whatever was made of its key since. None if it is gone. Objects are
    /// not looked at.
    pub fn used_result(&self, used: &UsedResult) -> Result<Option<Manifest>, StoreError> {
        let current = self.manifest(&used.key)?;
        let Some(outputs) = used.outputs else { return Ok(current) };
        if let Some(current) = current.filter(|current| current.used() == *used) {
            return Ok(Some(current));
        }
        let path = self.earlier_path(&used.key, &outputs);
        match self.read_earlier(&used.key, &outputs)? {
            Read::Manifest(manifest) => Ok(Some(*manifest)),
            Read::Absent => Ok(None),
            Read::Damaged(what) => Err(StoreError::CorruptManifest { path, what }),
        }
    }

    /// All results that can be read, those that were made anew since among them.
    pub(crate) fn all_results(&self) -> Result<Vec<Kept>, StoreError> {
        let current = self.manifests()?.into_iter().map(|manifest| {
            let path = self.manifest_path(&manifest.key);
            Kept { manifest, path, is_current: true }
        });
        let mut results: Vec<Kept> = current.collect();
        for (key, outputs, path) in self.earlier_files()? {
            if let Read::Manifest(manifest) = self.read_earlier(&key, &outputs)? {
                results.push(Kept { manifest: *manifest, path, is_current: false });
            }
        }
        Ok(results)
    }

    /// The files of all results that were made anew since: key, digest over the outputs, path.
    pub(crate) fn earlier_files(&self) -> Result<Vec<(StepKey, Digest, PathBuf)>, StoreError> {
        let named = |(name, path): (String, PathBuf)| {
            let (key, outputs) = name.split_once('.')?;
            Some((key.parse().ok()?, outputs.parse().ok()?, path))
        };
        Ok(list_sharded(&self.folder("manifests"), ".json")?.into_iter().filter_map(named).collect())
    }

    /// Reads the manifest of an earlier result. One of other outputs than its name says is a damaged one.
    pub(crate) fn read_earlier(&self, key: &StepKey, outputs: &Digest) -> Result<Read, StoreError> {
        Ok(match read_manifest_at(&self.earlier_path(key, outputs), key)? {
            Read::Manifest(manifest) if manifest.used().outputs != Some(*outputs) => {
                Read::Damaged("it is that of other outputs".to_owned())
            }
            read => read,
        })
    }

    /// Beside the manifest that the key finds.
    fn earlier_path(&self, key: &StepKey, outputs: &Digest) -> PathBuf {
        self.manifest_path(key).with_extension(format!("{outputs}.json"))
    }

    /// Writes a manifest down that its key is not to find, where it may be durable before it has its name.
    pub(crate) fn write_earlier(&self, manifest: &Manifest, names: &mut Dirty) -> Result<Option<Earlier>, StoreError> {
        let Some(outputs) = manifest.used().outputs else { return Ok(None) };
        let path = self.earlier_path(&manifest.key, &outputs);
        let bytes = manifest.encode().map_err(|error| StoreError::io("writing", &path, error.into()))?;
        let temporary = write_beside(&path, |file| file.write_all(&bytes), names)?;
        Ok(Some(Earlier { temporary, path }))
    }

    /// Whether all objects of a result are there, as far as their sizes and times tell.
    pub(crate) fn is_whole(&self, manifest: &Manifest) -> Result<bool, StoreError> {
        for (object, bytes) in manifest.trees().flat_map(Tree::objects) {
            if self.check_object(object, bytes, Check::Stat)? != ObjectState::Sound {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the key of a manifest finds before that one takes its place, if it has other outputs. One that was damaged, which
    /// may be why the step was carried out anew, is of no use to any run.
    pub(crate) fn replaced_by(&self, manifest: &Manifest) -> Result<Option<Manifest>, StoreError> {
        Ok(match self.read_manifest(&manifest.key)? {
            Read::Manifest(current) if current.used() != manifest.used() && self.is_whole(&current)? => Some(*current),
            _ => None,
        })
    }
}

impl Earlier {
    /// Notes what has to reach the disk before it has its name.
    pub(crate) fn note(&self, contents: &mut Dirty) {
        contents.file(self.temporary.path());
    }

    /// Gives them their names, which are durable when this returns.
    pub(crate) fn settle_all(all: Vec<Self>) -> Result<(), StoreError> {
        let mut names = Dirty::default();
        for Self { temporary, path } in all {
            rename_temporary(temporary, &path)?;
            failpoint!("commit: an earlier result has its name");
            names.folder(folder_of(&path));
        }
        names.sync()
    }
}
