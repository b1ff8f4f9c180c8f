use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use tar::{Builder, Header};

use super::contents::{BUNDLE_FORMAT, CONTENTS_NAME, Contents, PART_LIMIT, RecordFile};
use crate::{
    Digest, Manifest, RunId, StepKey, Store, StoreError, Tree, UsedResult,
    durable::{TEMPORARY_PREFIX, folder_of, sync_folder},
    error::At,
    hashing::hash_file,
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
    pub left_out: Vec<UsedResult>,
}

const BUFFER: usize = 1 << 20;

impl Store {
    /// Writes a run's record and all results that it made or used into one file, which must not be there yet.
    pub fn export_run(&self, run: &RunId, to: &Path, watch: &dyn Fn(Verified)) -> Result<Bundled, StoreError> {
        let (mut whole, mut left_out) = (BTreeMap::new(), Vec::new());
        for used in self.results_of(run)? {
            match self.used_result(&used)? {
                Some(manifest) if self.is_whole(&manifest)? => _ = whole.insert(used.key, manifest),
                // A stage that failed or was skipped has a key and never had a result.
                None if used.outputs.is_none() => {}
                _ => left_out.push(used),
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
        let found = |key: &StepKey| Ok((*key, self.manifest(key)?.ok_or(StoreError::NoResult { key: *key })?));
        let manifests = keys.iter().map(found).collect::<Result<_, StoreError>>()?;
        self.export_bundle(&manifests, None, to, watch)
    }

    fn export_bundle(
        &self,
        manifests: &BTreeMap<StepKey, Manifest>,
        run: Option<&RunId>,
        to: &Path,
        watch: &dyn Fn(Verified),
    ) -> Result<Bundled, StoreError> {
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: to.to_owned() });
        }
        let objects: BTreeMap<Digest, u64> =
            manifests.values().flat_map(Manifest::trees).flat_map(Tree::objects).collect();
        let record = run.map(|run| self.record_files(run)).transpose()?.unwrap_or_default();
        let contents = Contents {
            format: BUNDLE_FORMAT,
            run: run.cloned(),
            manifests: manifests.keys().copied().collect(),
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
        for (key, manifest) in manifests {
            let bytes = manifest.encode().map_err(|error| StoreError::io("writing", to, error.into()))?;
            bundle.add(&format!("manifests/{key}.json"), bytes.len() as u64, bytes.as_slice())?;
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
            results: manifests.len() as u64,
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
