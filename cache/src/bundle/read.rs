use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    path::Path,
};

use tar::{Archive, Entry, EntryType};

use super::contents::{BUNDLE_FORMAT, CONTENTS_NAME, Contents, PART_LIMIT, RecordFile};
use crate::{
    Digest, Lookup, Manifest, RunId, StepKey, Store, StoreError, StoreLock, Tree,
    durable::{Dirty, rename, sync_folder, write_atomic},
    error::At,
    manifest::Unreadable,
    tree::is_plain,
    verify::Verified,
};

/// What an import brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The run whose record came with it.
    pub run: Option<RunId>,
    /// Whether that run was on record already.
    pub run_was_there: bool,
    /// Results in the file.
    pub results: u64,
    /// Of these, results that were not in the store.
    pub new_results: u64,
    /// Files of artifacts in the file.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Takes in what [`export_run`](Self::export_run) or [`export_results`](Self::export_results) wrote.
    ///
    /// Every byte is checked against its digest before anything is made findable; a file that is cut off, damaged or made
    /// to do harm changes nothing but the number of objects that no result needs. `from` is for messages.
    pub fn import(
        &self,
        lock: &StoreLock,
        content: impl Read,
        from: &Path,
        watch: &dyn Fn(Verified),
    ) -> Result<Imported, StoreError> {
        let mut archive = Archive::new(content);
        let mut reader = BundleReader { store: self, from, objects: Dirty::default() };
        // Raw: names are short here, and the extensions for long ones could be of any size.
        let mut entries = archive.entries().map_err(|error| reader.unreadable(error))?.raw(true);
        let contents = reader.contents(entries.next())?;
        let mut manifests: BTreeMap<StepKey, Manifest> = BTreeMap::new();
        let mut needed: Option<BTreeMap<Digest, u64>> = None;
        let mut record: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let (mut seen, mut done) = (BTreeSet::new(), 0);
        for entry in entries {
            let mut entry = entry.map_err(|error| reader.unreadable(error))?;
            match reader.name(&entry)? {
                Name::Manifest(key) if needed.is_none() => {
                    let manifest = reader.manifest(&mut entry, key, &contents)?;
                    if manifests.insert(key, manifest).is_some() {
                        return Err(reader.bad("a manifest comes twice"));
                    }
                }
                Name::Object(object) => {
                    let needed = match &mut needed {
                        Some(needed) => needed,
                        None => needed.insert(reader.needed(&contents, &manifests)?),
                    };
                    let bytes = needed.get(&object).copied();
                    let bytes = bytes.ok_or_else(|| reader.bad("it holds an object that no manifest of it needs"))?;
                    if entry.size() != bytes || !seen.insert(object) {
                        return Err(reader.bad("an object has another size than its manifest says, or comes twice"));
                    }
                    reader.object(&mut entry, object, bytes)?;
                    failpoint!("import: an object is there");
                    done += bytes;
                    watch(Verified { done, total: contents.bytes });
                }
                Name::Record(number) => {
                    let file =
                        contents.record.get(number).ok_or_else(|| reader.bad("it holds a file it does not list"))?;
                    record.insert(number, reader.record(&mut entry, file)?);
                }
                Name::Manifest(_) => return Err(reader.bad("a manifest comes after the objects")),
            }
        }
        let needed = match needed {
            Some(needed) => needed,
            None => reader.needed(&contents, &manifests)?,
        };
        if seen.len() != needed.len() || record.len() != contents.record.len() {
            return Err(reader.bad("it is cut off"));
        }
        self.keep_import(lock, &contents, &manifests, &reader.objects, &record)
    }

    /// Everything was checked: objects are made durable, then manifests, then the run.
    fn keep_import(
        &self,
        lock: &StoreLock,
        contents: &Contents,
        manifests: &BTreeMap<StepKey, Manifest>,
        objects: &Dirty,
        record: &BTreeMap<usize, Vec<u8>>,
    ) -> Result<Imported, StoreError> {
        let (mut new, mut other) = (Vec::new(), Vec::new());
        for (key, manifest) in manifests {
            match self.lookup(key)? {
                // What is here may bear other facts, such as the device; it stays.
                Lookup::Hit(here) if here.used() == manifest.used() => {}
                // The key goes on finding what it finds here; the run that comes has its own.
                Lookup::Hit(_) => other.push(manifest),
                _ => new.push(manifest),
            }
        }
        self.commit_group(&lock.index, &new, objects)?;
        self.commit_earlier(&other, objects)?;
        let mut imported = Imported {
            run: contents.run.clone(),
            run_was_there: false,
            results: manifests.len() as u64,
            new_results: (new.len() + other.len()) as u64,
            objects: contents.objects,
            bytes: contents.bytes,
        };
        let Some(run) = &contents.run else { return Ok(imported) };
        if self.run_folder(run).exists() {
            imported.run_was_there = true;
            return Ok(imported);
        }
        let tmp = self.tmp();
        let staged = tempfile::Builder::new().prefix("import-").tempdir_in(&tmp).at("creating a folder in", &tmp)?;
        for (number, bytes) in record {
            if let Some(file) = contents.record.get(*number) {
                write_atomic(&staged.path().join(&file.path), bytes)?;
            }
        }
        failpoint!("import: the record is written");
        rename(&staged.keep(), &self.run_folder(run)).at("writing", &self.run_folder(run))?;
        sync_folder(&self.folder("runs"))?;
        Ok(imported)
    }
}

/// What a file of a bundle is.
enum Name {
    Manifest(StepKey),
    Object(Digest),
    Record(usize),
}

/// Reads a bundle and believes nothing.
struct BundleReader<'a> {
    store: &'a Store,
    from: &'a Path,
    objects: Dirty,
}

impl BundleReader<'_> {
    fn bad(&self, what: &str) -> StoreError {
        StoreError::BadBundle { path: self.from.to_owned(), what: what.to_owned() }
    }

    /// What reading said: the disk's errors are the disk's, the others are the file's.
    fn unreadable(&self, error: io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.bad("it is cut off"),
            _ if error.raw_os_error().is_some() => StoreError::io("reading", self.from, error),
            _ => self.bad("it is damaged, or no file of `refit cache export`"),
        }
    }

    fn contents<R: Read>(&self, first: Option<io::Result<Entry<'_, R>>>) -> Result<Contents, StoreError> {
        let mut first = first.ok_or_else(|| self.bad("it is empty"))?.map_err(|error| self.unreadable(error))?;
        if first.path_bytes().as_ref() != CONTENTS_NAME.as_bytes() || first.header().entry_type() != EntryType::Regular
        {
            return Err(self.bad("it does not begin as a file of `refit cache export` does"));
        }
        let bytes = self.part(&mut first)?;
        let damaged = |_| self.bad("its contents cannot be read");
        let format: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format["format"] != BUNDLE_FORMAT {
            return Err(self.bad(&format!("it has format {}, this refit reads {BUNDLE_FORMAT}", format["format"])));
        }
        let contents: Contents = serde_json::from_slice(&bytes).map_err(damaged)?;
        let paths: BTreeSet<&str> = contents.record.iter().map(|file| file.path.as_str()).collect();
        if paths.len() != contents.record.len() || !paths.iter().all(|path| is_plain(path)) {
            return Err(self.bad("a file of the run's record would lie outside its folder, or comes twice"));
        }
        Ok(contents)
    }

    /// A part that is held in memory. What its size claims is not believed before it is there.
    fn part<R: Read>(&self, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, StoreError> {
        let size = entry.size();
        if size > PART_LIMIT {
            return Err(self.bad(&format!("a part of it has {size} bytes, more than any has")));
        }
        let mut bytes = Vec::new();
        entry.take(PART_LIMIT).read_to_end(&mut bytes).map_err(|error| self.unreadable(error))?;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(self.bad("it is cut off")) }
    }

    fn name<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Name, StoreError> {
        let path = entry.path_bytes();
        let name = std::str::from_utf8(&path).unwrap_or_default();
        let known = match name.split_once('/') {
            Some(("manifests", file)) => {
                file.strip_suffix(".json").and_then(|key| key.parse().ok()).map(Name::Manifest)
            }
            Some(("objects", object)) => object.parse().ok().map(Name::Object),
            Some(("run", number)) => number.parse().ok().map(Name::Record),
            _ => None,
        };
        match known {
            Some(name) if entry.header().entry_type() == EntryType::Regular => Ok(name),
            _ => Err(self.bad(&format!("it holds `{}`, which no export writes", String::from_utf8_lossy(&path)))),
        }
    }

    fn manifest<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        key: StepKey,
        contents: &Contents,
    ) -> Result<Manifest, StoreError> {
        if !contents.manifests.contains(&key) {
            return Err(self.bad("it holds a manifest it does not list"));
        }
        let bytes = self.part(entry)?;
        Manifest::decode(&bytes, &key).map_err(|error| match error {
            Unreadable::OtherFormat(found) => self.bad(&format!("a manifest has the unknown format {found}")),
            Unreadable::Damaged(what) => self.bad(&format!("a manifest is damaged: {what}")),
        })
    }

    /// The objects to come, once all manifests are there; refused at once where there is no room for them.
    fn needed(
        &self,
        contents: &Contents,
        manifests: &BTreeMap<StepKey, Manifest>,
    ) -> Result<BTreeMap<Digest, u64>, StoreError> {
        if manifests.len() != contents.manifests.len() {
            return Err(self.bad("it is cut off: not all of its manifests are there before the first object"));
        }
        let mut needed: BTreeMap<Digest, u64> = BTreeMap::new();
        for (object, bytes) in manifests.values().flat_map(Manifest::trees).flat_map(Tree::objects) {
            if needed.insert(object, bytes).is_some_and(|other| other != bytes) {
                return Err(self.bad("two manifests contradict each other"));
            }
        }
        let sum = needed.values().try_fold(0_u64, |sum, bytes| sum.checked_add(*bytes));
        if sum != Some(contents.bytes) || needed.len() as u64 != contents.objects {
            return Err(self.bad("its contents contradict its manifests"));
        }
        let missing = needed.iter().filter(|(object, _)| !self.store.object_path(object).exists());
        let missing: u64 = missing.map(|(_, bytes)| bytes).sum();
        let free = rustix::fs::statvfs(self.store.root()).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free.is_ok_and(|free| free < missing) {
            return Err(StoreError::io("making room in", self.store.root(), io::ErrorKind::StorageFull.into()));
        }
        Ok(needed)
    }

    fn object<R: Read>(&mut self, entry: &mut Entry<'_, R>, object: Digest, bytes: u64) -> Result<(), StoreError> {
        match self.store.receive(object, bytes, entry, &mut self.objects) {
            Err(StoreError::WrongBytes { .. }) => Err(self.bad(&format!("object {} is damaged", object.short()))),
            Err(StoreError::Unreadable { source }) => Err(self.unreadable(source)),
            other => other,
        }
    }

    fn record<R: Read>(&self, entry: &mut Entry<'_, R>, file: &RecordFile) -> Result<Vec<u8>, StoreError> {
        let bytes = self.part(entry)?;
        if bytes.len() as u64 != file.bytes || Digest::of(&bytes) != file.digest {
            return Err(self.bad(&format!("the file `{}` of the run's record is damaged", file.path)));
        }
        Ok(bytes)
    }
}
