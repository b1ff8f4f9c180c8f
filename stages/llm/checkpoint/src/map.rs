use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use fs_err::File;
use memmap2::Mmap;

use crate::CheckpointError;

/// How a file begins that git-lfs left in place of the weights.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A file of numbers, mapped into memory; it is its bytes.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a file; refuses what cannot be a file of weights whatever its format.
    ///
    /// # Errors
    /// A folder, an empty file, a git-lfs pointer, and what the operating system refuses.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(|cause| CheckpointError::io(path, cause))?;
        let metadata = file.metadata().map_err(|cause| CheckpointError::io(path, cause))?;
        if !metadata.is_file() {
            return Err(CheckpointError::new("weights::not_a_file", "a file is expected here, not a folder").at(path));
        }
        if metadata.len() == 0 {
            return Err(CheckpointError::new("weights::empty", "the file is empty")
                .with_help("fetch the file again")
                .at(path));
        }
        let map = map(&file).map_err(|cause| CheckpointError::io(path, cause))?;
        if map.starts_with(LFS_POINTER) {
            return Err(CheckpointError::new(
                "weights::lfs_pointer",
                "this is a git-lfs pointer, not the weights themselves",
            )
            .with_help("run `git lfs pull` where the model was cloned, or take it through a `hf://` source")
            .at(path));
        }
        Ok(Self { path: path.to_owned(), map })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[allow(unsafe_code, reason = "memory maps have no safe constructor; weights larger than memory need one")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. Sources are digested before a run and objects of the
    // store are never written again, so nobody changes the file under the map. Were one truncated all the same, the
    // worker process gets SIGBUS, which the engine reports as a failed stage; no memory is corrupted, because every
    // access goes through bounds fixed at mapping time.
    unsafe { Mmap::map(file) }
}
