use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::SystemTime,
};

use crate::{Digest, StoreError, error::At, stat::Stat};

/// Large enough that blake3 can share a piece among threads, small enough to stay in the processor's cache.
const PIECE: usize = 2 << 20;

/// From this size on, a piece is hashed by several threads.
const SHARED_FROM: usize = 512 << 10;

/// A file that is written to all the time is read again this often before giving up.
const TRIES: usize = 3;

/// The digest and the size of a file.
///
/// The file is read, not mapped: one that somebody truncates meanwhile must not end the process.
pub(crate) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let expected = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE.min(usize::try_from(expected).unwrap_or(PIECE).saturating_add(1))];
    let mut size = 0;
    loop {
        let filled = fill(&mut file, &mut piece)?;
        size += filled as u64;
        if filled >= SHARED_FROM {
            hasher.update_rayon(&piece[..filled]);
        } else {
            hasher.update(&piece[..filled]);
        }
        if filled < piece.len() {
            return Ok((hasher.finalize().into(), size));
        }
    }
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

/// Reads until `piece` is full or the file ends.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
