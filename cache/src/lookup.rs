use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    Digest, Manifest, StepKey, Store, StoreError, Tree,
    manifest::Unreadable,
    object::{Check, ObjectState},
    store::list_sharded,
};

/// What the store holds for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// A result, and all of it is there.
    Hit(Box<Manifest>),
    /// Nothing was ever committed, or it was dropped.
    Absent,
    /// A result of which an object is gone.
    Missing {
        /// What was committed.
        manifest: Box<Manifest>,
        /// The first object that is gone.
        object: Digest,
    },
    /// A result that was damaged on disk. What is damaged was moved aside.
    Corrupt {
        /// What was committed, unless the manifest itself is damaged.
        manifest: Option<Box<Manifest>>,
        /// The damaged object, unless it is the manifest.
        object: Option<Digest>,
        /// One sentence: what is damaged and where it lies now.
        what: String,
    },
}

/// The file of a manifest, read.
pub(crate) enum Read {
    Manifest(Box<Manifest>),
    Absent,
    /// What is wrong with it.
    Damaged(String),
}

impl Store {
    /// What the store holds for a key. Never a hit with an object that is missing or known to be damaged.
    ///
    /// Sizes and times of all objects are looked at; one that was touched since it was committed is hashed.
    pub fn lookup(&self, key: &StepKey) -> Result<Lookup, StoreError> {
        let path = self.manifest_path(key);
        let manifest = match self.read_manifest(key)? {
            Read::Manifest(manifest) => manifest,
            Read::Absent => return Ok(Lookup::Absent),
            Read::Damaged(what) => {
                let what = format!("the manifest {} was damaged: {what}", self.quarantine(&path).display());
                return Ok(Lookup::Corrupt { manifest: None, object: None, what });
            }
        };
        let objects: Vec<_> = manifest.trees().flat_map(Tree::objects).collect();
        for (object, bytes) in objects {
            match self.check_object(object, bytes, Check::Stat)? {
                ObjectState::Sound => {}
                ObjectState::Missing => return Ok(Lookup::Missing { manifest, object }),
                ObjectState::Damaged(path) => {
                    let what = format!("the object {} was damaged; it lies at {}", object.short(), path.display());
                    return Ok(Lookup::Corrupt { manifest: Some(manifest), object: Some(object), what });
                }
            }
        }
        Ok(Lookup::Hit(manifest))
    }

    /// The manifest of a key, if there is one. Objects are not looked at.
    pub fn manifest(&self, key: &StepKey) -> Result<Option<Manifest>, StoreError> {
        match self.read_manifest(key)? {
            Read::Manifest(manifest) => Ok(Some(*manifest)),
            Read::Absent => Ok(None),
            Read::Damaged(what) => Err(StoreError::CorruptManifest { path: self.manifest_path(key), what }),
        }
    }

    /// The manifest that each key finds, where it can be read; `lookup` and `verify` deal with the others.
    pub(crate) fn manifests(&self) -> Result<Vec<Manifest>, StoreError> {
        let mut manifests = Vec::new();
        for (key, _) in self.manifest_files()? {
            if let Read::Manifest(manifest) = self.read_manifest(&key)? {
                manifests.push(*manifest);
            }
        }
        Ok(manifests)
    }

    /// The files of the manifests that keys find.
    pub(crate) fn manifest_files(&self) -> Result<Vec<(StepKey, PathBuf)>, StoreError> {
        let files = list_sharded(&self.folder("manifests"), ".json")?;
        Ok(files.into_iter().filter_map(|(key, path)| Some((key.parse().ok()?, path))).collect())
    }

    pub(crate) fn read_manifest(&self, key: &StepKey) -> Result<Read, StoreError> {
        read_manifest_at(&self.manifest_path(key), key)
    }
}

/// Reads the manifest of a key that lies at a path.
pub(crate) fn read_manifest_at(path: &Path, key: &StepKey) -> Result<Read, StoreError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::Absent),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Ok(Read::Damaged("it is a folder".to_owned()));
        }
        Err(error) => return Err(StoreError::io("reading", path, error)),
    };
    Ok(match Manifest::decode(&bytes, key) {
        Ok(manifest) => Read::Manifest(Box::new(manifest)),
        Err(Unreadable::OtherFormat(_)) => Read::Absent,
        Err(Unreadable::Damaged(what)) => Read::Damaged(what),
    })
}
