use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
    time::SystemTime,
};

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::{Digest, StoreError, error::At, stat::Stat};

/// What is read at once: large enough that a call costs nothing, small enough to be hashed out of the processor's cache.
const PIECE: usize = 256 << 10;

/// From this size on, a file is read and hashed by several threads.
const SHARED_FROM: u64 = 512 << 10;

/// A file that is written to all the time is read again this often before giving up.
const TRIES: usize = 3;

/// The digest and the size of a file.
///
/// The file is read, not mapped: one that somebody truncates meanwhile must not end the process. Reading it piece by piece
/// in every thread is no slower than a map, whose pages have to be made.
pub(crate) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length >= SHARED_FROM {
        // blake3 is a tree over the file: the halves are hashed apart, and each half's halves.
        let left = left_subtree_len(length);
        let halves = rayon::join(|| subtree(&file, 0, left), || subtree(&file, left, length - left));
        match halves {
            (Ok(left), Ok(right)) if file.metadata()?.len() == length => {
                return Ok((merge_subtrees_root(&left, &right, Mode::Hash).into(), length));
            }
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            // It grows or shrinks meanwhile.
            _ => file.rewind()?,
        }
    }
    hash_to_the_end(&mut file, length)
}

/// One thread reads until the file ends, wherever that is.
fn hash_to_the_end(file: &mut File, expected: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE.min(usize::try_from(expected).unwrap_or(PIECE).saturating_add(1))];
    let mut size = 0;
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((hasher.finalize().into(), size)),
            Ok(read) => {
                size += read as u64;
                hasher.update(&piece[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The chaining value of the subtree over `length` bytes at `start`; both are as blake3 splits a file.
fn subtree(file: &File, start: u64, length: u64) -> io::Result<ChainingValue> {
    thread_local! {
        static PIECE_READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    if length > PIECE as u64 {
        let left = left_subtree_len(length);
        let (left, right) = rayon::join(|| subtree(file, start, left), || subtree(file, start + left, length - left));
        return Ok(merge_subtrees_non_root(&left?, &right?, Mode::Hash));
    }
    PIECE_READ.with_borrow_mut(|piece| {
        piece.resize(PIECE, 0);
        let piece = &mut piece[..length as usize];
        file.read_exact_at(piece, start)?;
        Ok(Hasher::new().set_input_offset(start).update(piece).finalize_non_root())
    })
}

/// The digest of a file that nobody writes to meanwhile, what the system said about it, and when that was asked.
pub(crate) fn hash_settled(path: &Path) -> Result<(Digest, Stat, SystemTime), StoreError> {
    for _ in 0..TRIES {
        let asked = SystemTime::now();
        let before = Stat::of(&path.metadata().at("reading", path)?);
        let (digest, size) = hash_file(path).at("reading", path)?;
        let after = Stat::of(&path.metadata().at("reading", path)?);
        if before == after && size == after.size {
            return Ok((digest, after, asked));
        }
    }
    Err(StoreError::ChangedWhileRead { path: path.to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_has_the_same_digest_however_it_is_read() {
        const LARGE: usize = 3 << 20;
        let bytes: Vec<u8> = (0..LARGE as u32 / 4).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let shared = SHARED_FROM as usize;
        let edges = [PIECE, shared, shared + 1024, shared + PIECE, 5 * PIECE, 8 * PIECE];
        let around = edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]);
        for size in [0, 1, 1024, 1025, LARGE - 7, LARGE].into_iter().chain(around) {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes[..size]).unwrap();
            let expected = Digest::from(blake3::hash(&bytes[..size]));
            assert_eq!(hash_file(file.path()).unwrap(), (expected, size as u64), "{size} bytes");
        }
    }
}
