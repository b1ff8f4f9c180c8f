use serde::{Deserialize, Serialize};

use crate::{Digest, canonical::CanonicalWriter};

/// Keeps the digest of a folder apart from that of a file which lists the same names.
const FOLDER_DOMAIN: &str = "refit 2026-11 folder";
/// Keeps the digest of a program apart from that of the same bytes as a plain file.
const EXECUTABLE_DOMAIN: &str = "refit 2026-11 executable";

/// What an artifact is: one file, or a folder of files.
///
/// Names and contents count, and of what a step made whether a file can be executed; times, other modes, owners and empty
/// folders do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Of a file, blake3 of its bytes; of one that can be executed, blake3 over that; of a folder, blake3 over its sorted
    /// entries.
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
    /// One file that can be executed: the object that holds its bytes.
    Executable(Digest),
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
    /// Whether it can be executed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl Content {
    /// The object of a single file.
    pub fn object(&self) -> Option<Digest> {
        match self {
            Self::File(object) | Self::Executable(object) => Some(*object),
            Self::Folder(_) => None,
        }
    }
}

impl Tree {
    /// A single file.
    pub fn file(digest: Digest, bytes: u64) -> Self {
        Self { digest, bytes, content: Content::File(digest) }
    }

    /// A single file that can be executed.
    pub fn executable(object: Digest, bytes: u64) -> Self {
        let digest = blake3::Hasher::new_derive_key(EXECUTABLE_DOMAIN).update(object.as_bytes()).finalize().into();
        Self { digest, bytes, content: Content::Executable(object) }
    }

    /// A folder of files, in any order.
    pub fn folder(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut writer = CanonicalWriter::new();
        writer.list(entries.len());
        for entry in &entries {
            writer.text(&entry.path).bytes(entry.digest.as_bytes()).integer(entry.bytes);
        }
        // Said only where there are any: the digests of all other folders do not depend on it.
        let executable: Vec<&Entry> = entries.iter().filter(|entry| entry.executable).collect();
        if !executable.is_empty() {
            writer.list(executable.len());
            for entry in executable {
                writer.text(&entry.path);
            }
        }
        let digest = blake3::Hasher::new_derive_key(FOLDER_DOMAIN).update(&writer.finish()).finalize().into();
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        Self { digest, bytes, content: Content::Folder(entries) }
    }

    /// A file of a folder, by its path there.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let Content::Folder(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.path == path)
    }

    /// Every object it needs with that object's size; one that two files share comes twice.
    pub fn objects(&self) -> impl Iterator<Item = (Digest, u64)> + '_ {
        let entries = match &self.content {
            Content::File(_) | Content::Executable(_) => &[],
            Content::Folder(entries) => entries.as_slice(),
        };
        let file = self.content.object().map(|object| (object, self.bytes));
        file.into_iter().chain(entries.iter().map(|entry| (entry.digest, entry.bytes)))
    }

    /// Whether the digest and the size follow from the content, and every path stays below the folder.
    ///
    /// A tree that was read from a file is checked before anything is written by its paths.
    pub fn is_sound(&self) -> bool {
        match &self.content {
            Content::File(object) => *object == self.digest,
            Content::Executable(object) => Self::executable(*object, self.bytes).digest == self.digest,
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
pub(crate) fn is_plain(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn entries(files: &[(&str, &str)]) -> Vec<Entry> {
        let entry = |(path, text): &(&str, &str)| Entry {
            path: (*path).to_owned(),
            digest: Digest::of(text.as_bytes()),
            bytes: text.len() as u64,
            executable: false,
        };
        files.iter().map(entry).collect()
    }

    #[test]
    fn golden_folder() {
        let tree = Tree::folder(entries(&[("b/c.json", "{}"), ("a.txt", "hello"), ("学 习", "")]));
        assert_eq!(tree.bytes, 7);
        assert_eq!(tree.digest.to_string(), "342b25cf22e15c1f8ece647abef8e7aed73f555f24c9dd284683b3dd1721e37c");
        assert_eq!(
            Tree::folder(Vec::new()).digest.to_string(),
            "bfd3f3a04858096769206fc1f8cc885b2545245dd257b2241fb3b53675607f28"
        );
    }

    #[test]
    fn golden_executables() {
        let program = Tree::executable(Digest::of(b"hello"), 5);
        assert_eq!(program.digest.to_string(), "68ebe0698f20985f759ce04bec03ce866d3cb820aa698e03671853ef3623927d");
        let mut files = entries(&[("b/c.json", "{}"), ("a.txt", "hello"), ("学 习", "")]);
        files[1].executable = true;
        let tree = Tree::folder(files.clone());
        assert_eq!(tree.digest.to_string(), "fc878285f89bc9259166cdb4423f99cb93ff97fcff0d12b616ed59d0cf2b7670");
        assert!(program.is_sound() && tree.is_sound());
        files[0].executable = true;
        assert_ne!(Tree::folder(files).digest, tree.digest);
        for tree in [program, tree] {
            let text = serde_json::to_string(&tree).unwrap();
            assert_eq!(serde_json::from_str::<Tree>(&text).unwrap(), tree);
            let plain =
                text.replace("executable\":true", "executable\":false").replace("{\"executable\":\"", "{\"file\":\"");
            assert!(plain != text && !serde_json::from_str::<Tree>(&plain).unwrap().is_sound());
        }
        // What is not said is not written either: manifests of plain files are as they were.
        assert!(!serde_json::to_string(&Tree::folder(entries(&[("a", "x")]))).unwrap().contains("executable"));
    }

    #[test]
    fn paths_that_leave_the_folder_are_unsound() {
        for path in ["../x", "/x", "a/../../x", "a//b", "", ".", "a/.", "nul\0"] {
            assert!(!Tree::folder(entries(&[(path, "x")])).is_sound(), "{path}");
        }
        assert!(!Tree::folder(entries(&[("a", "x"), ("a", "x")])).is_sound());
        let mut tree = Tree::folder(entries(&[("a", "x"), ("b", "y")]));
        assert!(tree.is_sound());
        tree.bytes += 1;
        assert!(!tree.is_sound());
        let mut file = Tree::file(Digest::of(b"x"), 1);
        assert!(file.is_sound());
        file.digest = Digest::of(b"y");
        assert!(!file.is_sound());
    }

    #[test]
    fn sizes_that_overflow_are_unsound() {
        let text = serde_json::to_string(&Tree::folder(entries(&[("a", "x"), ("b", "y")]))).unwrap();
        let tree: Tree =
            serde_json::from_str(&text.replace("\"bytes\":1", &format!("\"bytes\":{}", u64::MAX))).unwrap();
        assert!(!tree.is_sound());
    }

    proptest! {
        #[test]
        fn names_and_contents_decide(
            a in btree_map("[ab/]{1,4}", "[xy]{0,2}", 0..4),
            b in btree_map("[ab/]{1,4}", "[xy]{0,2}", 0..4),
            seed in any::<u64>(),
        ) {
            let pairs = |files: &std::collections::BTreeMap<String, String>| {
                let mut list: Vec<_> = files.iter().map(|(path, text)| (path.clone(), text.clone())).collect();
                let turn = usize::try_from(seed % 7).unwrap().min(list.len());
                list.rotate_left(turn);
                entries(&list.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>())
            };
            let sorted = |files: &std::collections::BTreeMap<String, String>| {
                entries(&files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>())
            };
            prop_assert_eq!(Tree::folder(pairs(&a)), Tree::folder(sorted(&a)));
            prop_assert_eq!(Tree::folder(pairs(&a)).digest == Tree::folder(pairs(&b)).digest, a == b);
        }
    }
}
