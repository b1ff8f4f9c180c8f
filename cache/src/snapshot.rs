use std::{collections::HashMap, io::Write, path::PathBuf};

use crate::{Digest, Store, stat::Stat};

/// What the processes that held the store measured lately, in one file, for those that only read: the index is for one
/// process alone.
///
/// Written when the store is let go of, read whole or not at all. It says nothing that the files do not say: it can be deleted at any time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(HashMap<(u64, u64), (Stat, Digest)>);

const FILE: &str = "measured";
const MAGIC: &[u8; 16] = b"refit measured1\n";
const CHECK: usize = 32;
/// Device, inode, size, modified, changed, digest.
const ENTRY: usize = 5 * 8 + 32;
/// More files than these are measured anew by readers; the ones measured last are kept.
const MOST: usize = 1 << 17;

impl Snapshot {
    /// Reads the snapshot of a store; an empty one where there is none, or it is damaged.
    pub(crate) fn read(store: &Store) -> Self {
        std::fs::read(path(store)).ok().and_then(|bytes| Self::decode(&bytes)).unwrap_or_default()
    }

    /// The digest of a file that looks as it did when it was measured.
    pub(crate) fn digest(&self, stat: &Stat) -> Option<Digest> {
        let (seen, digest) = self.0.get(&stat.place())?;
        (seen == stat).then_some(*digest)
    }

    /// Writes down what was measured, together with what was written down before. Readers without it are slower, so a disk that is full
    /// does no harm.
    pub(crate) fn keep(store: &Store, measured: &HashMap<(u64, u64), (Stat, Digest)>) {
        if measured.is_empty() {
            return;
        }
        let mut snapshot = Self::read(store);
        if measured.values().all(|(stat, digest)| snapshot.digest(stat) == Some(*digest)) {
            return;
        }
        if snapshot.0.len() + measured.len() > MOST {
            snapshot.0.clear();
        }
        snapshot.0.extend(measured);
        let written = tempfile::NamedTempFile::new_in(store.root()).and_then(|mut file| {
            file.write_all(&snapshot.encode())?;
            Ok(file.persist(path(store))?)
        });
        drop(written);
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.0.len() * ENTRY + CHECK);
        bytes.extend_from_slice(MAGIC);
        for (Stat { device, inode, size, modified, changed }, digest) in self.0.values() {
            for number in [*device, *inode, *size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for time in [*modified, *changed] {
                bytes.extend_from_slice(&time.to_le_bytes());
            }
            bytes.extend_from_slice(digest.as_bytes());
        }
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, check) = bytes.split_last_chunk::<CHECK>()?;
        let body = rest.strip_prefix(MAGIC)?;
        if Digest::of(rest).as_bytes() != check || body.len() % ENTRY != 0 {
            return None;
        }
        let entry = |entry: &[u8]| {
            let number = |at: usize| -> Option<[u8; 8]> { entry.get(at * 8..at * 8 + 8)?.try_into().ok() };
            let stat = Stat {
                device: u64::from_le_bytes(number(0)?),
                inode: u64::from_le_bytes(number(1)?),
                size: u64::from_le_bytes(number(2)?),
                modified: i64::from_le_bytes(number(3)?),
                changed: i64::from_le_bytes(number(4)?),
            };
            Some((stat.place(), (stat, Digest::from_bytes(entry.get(40..)?.try_into().ok()?))))
        };
        body.chunks_exact(ENTRY).map(entry).collect::<Option<_>>().map(Self)
    }
}

fn path(store: &Store) -> PathBuf {
    store.root().join(FILE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::Wait;

    /// The index is told a wrong digest, so that what is read and what is remembered can be told apart.
    #[test]
    fn readers_know_what_a_run_measured_until_the_file_changes() {
        let folder = tempfile::TempDir::new().unwrap();
        let root = folder.path().join(".refit");
        let store = Store::open(&root).unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "alpha").unwrap();
        let wrong = Digest::of(b"wrong");
        let lock = store.lock("a test", Wait::Fail).unwrap();
        lock.index.remember(&[(Stat::of(&path.metadata().unwrap()), wrong)]);
        store.measure(&path, Some(&lock)).unwrap();
        drop(lock);
        let reader = || Store::open_existing(&root).unwrap();
        assert_eq!(reader().measure(&path, None).unwrap().digest, wrong);

        let file = root.join(FILE);
        let bytes = fs::read(&file).unwrap();
        for damage in [&bytes[..bytes.len() - 1], &bytes[1..], &[]] {
            fs::write(&file, damage).unwrap();
            assert_eq!(reader().measure(&path, None).unwrap().digest, Digest::of(b"alpha"));
        }
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        fs::write(&file, flipped).unwrap();
        assert_eq!(reader().measure(&path, None).unwrap().digest, Digest::of(b"alpha"));

        fs::write(&file, bytes).unwrap();
        fs::write(&path, "omega").unwrap();
        assert_eq!(reader().measure(&path, None).unwrap().digest, Digest::of(b"omega"));
    }
}
