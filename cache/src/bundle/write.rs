use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use tar::{Builder, Header};

use super::contents::{BUNDLE_FORMAT, CONTENTS_NAME, Contents, PART_LIMIT, RecordFile};
use crate::{
    Digest, RunId, StepKey, Store, StoreError, Tree,
    durable::{TEMPORARY_PREFIX, folder_of, sync_folder},
    error::At,
    hashing::hash_file,
    runs::Used,
    verify::Verified,
    walk::{self, Links},
};

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundled {
    /// Results.
    pub results: u64,
    /// Files of artifacts.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Results of the run that are not in the store any more, or not whole.
    pub left_out: Vec<StepKey>,
}

const BUFFER: usize = 1 << 20;

impl Store {
    /// Writes a run's record and all results that it made or used into one file, which must not be there yet.
    pub fn export_run(&self, run: &RunId, to: &Path, watch: &dyn Fn(Verified)) -> Result<Bundled, StoreError> {
        let keys = match self.used_by(run)? {
            Used::Keys(keys) => keys,
            Used::Unknown | Used::Unreadable(_) => {
                let made = self.manifests()?.into_iter().filter(|manifest| manifest.run == *run);
                made.map(|manifest| manifest.key).collect()
            }
        };
        let (mut whole, mut left_out) = (BTreeSet::new(), Vec::new());
        for key in keys {
            match self.lookup(&key)? {
                crate::Lookup::Hit(_) => _ = whole.insert(key),
                // A stage that failed or was skipped has a key and never had a result.
                crate::Lookup::Absent => {}
                _ => left_out.push(key),
            }
        }
        Ok(Bundled { left_out, ..self.export_bundle(&whole, Some(run), to, watch)? })
    }

    /// Writes results into one file, which must not be there yet.
    pub fn export_results(
        &self,
        keys: &BTreeSet<StepKey>,
        to: &Path,
        watch: &dyn Fn(Verified),
    ) -> Result<Bundled, StoreError> {
        self.export_bundle(keys, None, to, watch)
    }

    fn export_bundle(
        &self,
        keys: &BTreeSet<StepKey>,
        run: Option<&RunId>,
        to: &Path,
        watch: &dyn Fn(Verified),
    ) -> Result<Bundled, StoreError> {
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: to.to_owned() });
        }
        let mut objects: BTreeMap<Digest, u64> = BTreeMap::new();
        for key in keys {
            let manifest = self.manifest(key)?.ok_or(StoreError::NoResult { key: *key })?;
            objects.extend(manifest.trees().flat_map(Tree::objects));
        }
        let record = run.map(|run| self.record_files(run)).transpose()?.unwrap_or_default();
        let contents = Contents {
            format: BUNDLE_FORMAT,
            run: run.cloned(),
            manifests: keys.iter().copied().collect(),
            objects: objects.len() as u64,
            bytes: objects.values().sum(),
            record: record.iter().map(|(_, file)| file.clone()).collect(),
        };
        let folder = folder_of(to);
        let temporary =
            tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder).at("creating a file in", folder)?;
        let mut bundle = Bundle { tar: Builder::new(BufWriter::with_capacity(BUFFER, temporary.as_file())), to };
        let head = serde_json::to_vec(&contents).map_err(|error| StoreError::io("writing", to, error.into()))?;
        bundle.add(CONTENTS_NAME, head.len() as u64, head.as_slice())?;
        for key in keys {
            bundle.add_file(&format!("manifests/{key}.json"), &self.manifest_path(key))?;
        }
        let mut done = 0;
        for (object, bytes) in &objects {
            let path = self.sound_object(*object, *bytes)?;
            bundle.add_file(&format!("objects/{object}"), &path)?;
            done += bytes;
            watch(Verified { done, total: contents.bytes });
        }
        for (number, (path, _)) in record.iter().enumerate() {
            bundle.add_file(&format!("run/{number}"), path)?;
        }
        bundle.finish()?;
        temporary.as_file().sync_all().at("writing", to)?;
        temporary.persist_noclobber(to).map_err(|error| error.error).at("writing", to)?;
        sync_folder(folder)?;
        Ok(Bundled {
            results: keys.len() as u64,
            objects: contents.objects,
            bytes: contents.bytes,
            left_out: Vec::new(),
        })
    }

    /// The files of a run's record and where they lie. What a stage said may be long; more than an import takes is left out.
    fn record_files(&self, run: &RunId) -> Result<Vec<(PathBuf, RecordFile)>, StoreError> {
        let mut files = Vec::new();
        for found in walk::files(&self.run_folder(run), Links::Inside, None)? {
            let temporary = found.relative.split('/').any(|part| part.starts_with(TEMPORARY_PREFIX));
            if !temporary && found.stat.size <= PART_LIMIT {
                let (digest, bytes) = hash_file(&found.path).at("reading", &found.path)?;
                files.push((found.path, RecordFile { path: found.relative, digest, bytes }));
            }
        }
        Ok(files)
    }
}

/// The file being written.
struct Bundle<'a, W: Write> {
    tar: Builder<W>,
    to: &'a Path,
}

impl<W: Write> Bundle<'_, W> {
    /// The same content always gives the same bytes: no owner, no time.
    fn add(&mut self, name: &str, bytes: u64, content: impl Read) -> Result<(), StoreError> {
        let mut header = Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, content.take(bytes)).at("writing", self.to)
    }

    fn add_file(&mut self, name: &str, path: &Path) -> Result<(), StoreError> {
        let file = File::open(path).at("reading", path)?;
        let bytes = file.metadata().at("reading", path)?.len();
        self.add(name, bytes, file)
    }

    fn finish(self) -> Result<(), StoreError> {
        let finished: io::Result<()> = self.tar.into_inner().and_then(|mut out| out.flush());
        finished.at("writing", self.to)
    }
}
