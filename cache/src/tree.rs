use serde::{Deserialize, Serialize};

use crate::{Digest, canonical::CanonicalWriter};

/// Keeps the digest of a folder apart from that of a file which lists the same names.
const FOLDER_DOMAIN: &str = "refit 2026-11 folder";

/// What an artifact is: one file, or a folder of files.
///
/// Names and contents count; times, modes, owners and empty folders do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Of a file, blake3 of its bytes; of a folder, blake3 over its sorted entries.
    pub digest: Digest,
    /// Bytes of all files.
    pub bytes: u64,
    /// What it consists of.
    pub content: Content,
}

/// What a [`Tree`] consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One file: the object that holds its bytes.
    File(Digest),
    /// The files of a folder, sorted by the bytes of their paths.
    Folder(Vec<Entry>),
}

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the folder, with `/` between the parts.
    pub path: String,
    /// Blake3 of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

impl Tree {
    /// A single file.
    pub fn file(digest: Digest, bytes: u64) -> Self {
        Self { digest, bytes, content: Content::File(digest) }
    }

    /// A folder of files, in any order.
    pub fn folder(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut writer = CanonicalWriter::new();
        writer.list(entries.len());
        for entry in &entries {
            writer.text(&entry.path).bytes(entry.digest.as_bytes()).integer(entry.bytes);
        }
        let digest = blake3::Hasher::new_derive_key(FOLDER_DOMAIN).update(&writer.finish()).finalize().into();
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        Self { digest, bytes, content: Content::Folder(entries) }
    }

    /// Every object it needs with that object's size; one that two files share comes twice.
    pub fn objects(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        let (file, entries) = match &self.content {
            Content::File(object) => (Some((*object, self.bytes)), &[][..]),
            Content::Folder(entries) => (None, entries.as_slice()),
        };
        file.into_iter().chain(entries.iter().map(|entry| (entry.digest, entry.bytes)))
    }

    /// Whether the digest and the size follow from the content, and every path stays below the folder.
    ///
    /// A tree that was read from a file is checked before anything is written by its paths.
    pub fn is_sound(&self) -> bool {
        match &self.content {
            Content::File(object) => *object == self.digest,
            Content::Folder(entries) => {
                let sum = entries.iter().try_fold(0_u64, |sum, entry| sum.checked_add(entry.bytes));
                sum == Some(self.bytes)
                    && entries.iter().all(|entry| is_plain(&entry.path))
                    && entries.windows(2).all(|pair| pair[0].path.as_bytes() < pair[1].path.as_bytes())
                    && Self::folder(entries.clone()).digest == self.digest
            }
        }
    }
}

/// Whether a path is relative and of plain names only.
fn is_plain(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
