use std::{
    ops::{Deref, Range},
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

    /// Gives the memory of some bytes back to the system; who reads them again gets them from the file again. What is read
    /// once, tensor by tensor, would otherwise count as the process's memory as long as the file is open.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        let bytes = bytes.start..bytes.end.min(self.map.len());
        if !bytes.is_empty() {
            release(&self.map, bytes);
        }
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

#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "advice that may change what memory holds is unsafe; of a file that is only read, it changes nothing"
)]
fn release(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: the map is never written through, so that its pages hold what the file holds, now and when they come again.
    // The advice is about speed and memory alone: where the system does not take it, nothing is lost.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
}

#[cfg(not(unix))]
fn release(_: &Mmap, _: Range<usize>) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn what_was_released_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let numbers: Vec<u8> = (0..40_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &numbers).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert_eq!(*file, numbers[..]);
        for range in [0..40_000, 5000..5001, 39_000..50_000, 7..7] {
            file.release(range);
            assert_eq!(*file, numbers[..]);
        }
    }
}
