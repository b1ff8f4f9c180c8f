use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
};

use refit_cache::{Content, Digest, Store, Tree};
use serde::Serialize;

use super::RowChange;

/// What is remembered of the content of a source, so that a later run can say what changed in it: a few bytes for each row
/// of a file, the digest of each file of a folder.
///
/// Sources are not kept in the store. A sketch is small, lies beside the store's objects under the source's digest, and can
/// be deleted at any time: what changed is then told less closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sketch {
    /// The digests of the rows of a file, and that of a header.
    Rows {
        /// Of a table with a header line.
        header: Option<u64>,
        /// One a row.
        rows: Vec<u64>,
    },
    /// The files of a folder.
    Files(BTreeMap<String, Digest>),
}

/// How the files of a folder changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Files that were not there before.
    pub added: Vec<String>,
    /// Files that are gone.
    pub removed: Vec<String>,
    /// Files with another content.
    pub changed: Vec<String>,
}

/// Of larger files, rows are not told apart: reading them once more costs more than what it tells.
pub(super) const LARGEST: u64 = 64 << 20;
/// So many sketches are kept; the oldest go first.
const KEPT: usize = 256;
const FOLDER: &str = "sketches";
const MAGIC: &[u8] = b"refit sketch 1\n";
const CHECK: usize = 8;
/// Files whose lines are rows, and whether the first one is a header.
const EXTENSIONS: [(&str, bool); 5] =
    [("jsonl", false), ("ndjson", false), ("txt", false), ("csv", true), ("tsv", true)];

impl Sketch {
    /// Sketches a file or folder with this content. None of one that has no rows, is too large, or has another content by
    /// now.
    pub fn of(path: &Path, tree: &Tree) -> Option<Self> {
        match &tree.content {
            Content::Folder(entries) => {
                Some(Self::Files(entries.iter().map(|entry| (entry.path.clone(), entry.digest)).collect()))
            }
            Content::File(digest) | Content::Executable(digest) => {
                let extension = path.extension()?.to_str()?.to_ascii_lowercase();
                let (_, header) = EXTENSIONS.into_iter().find(|(known, _)| *known == extension)?;
                if tree.bytes > LARGEST {
                    return None;
                }
                let bytes = fs_err::read(path).ok()?;
                (Digest::of(&bytes) == *digest).then(|| Self::of_rows(&bytes, header))
            }
        }
    }

    /// Sketches the lines of a text. In a table, a cell in quotation marks may go over several lines.
    pub(super) fn of_rows(bytes: &[u8], header: bool) -> Self {
        let mut rows = Vec::new();
        let mut begin = 0;
        let mut quoted = false;
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' if header => quoted = !quoted,
                b'\n' if !quoted => {
                    rows.extend(row(&bytes[begin..at]));
                    begin = at + 1;
                }
                _ => {}
            }
        }
        rows.extend(row(&bytes[begin..]));
        let header = (header && !rows.is_empty()).then(|| rows.remove(0));
        Self::Rows { header, rows }
    }

    /// Reads the sketch of a content; none where there is none or it is damaged.
    pub fn read(store: &Store, content: Digest) -> Option<Self> {
        Self::decode(&fs_err::read(path(store, content)).ok()?)
    }

    /// Writes a sketch down, unless one of this content is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(store: &Store, content: Digest, sketch: impl FnOnce() -> Option<Self>) -> io::Result<()> {
        let path = path(store, content);
        if path.exists() {
            return Ok(());
        }
        let Some(sketch) = sketch() else { return Ok(()) };
        let folder = store.root().join(FOLDER);
        fs_err::create_dir_all(&folder)?;
        make_room(&folder)?;
        // Torn by a crash, it does not fit its check.
        fs_err::write(path, sketch.encode()?)
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        match self {
            Self::Rows { header, rows } => {
                bytes.push(if header.is_some() { b'H' } else { b'R' });
                bytes.extend(header.iter().chain(rows).flat_map(|row| row.to_le_bytes()));
            }
            Self::Files(files) => {
                bytes.push(b'F');
                serde_json::to_writer(&mut bytes, files)?;
            }
        }
        let check = check(&bytes);
        bytes.extend(check);
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, sum) = bytes.split_last_chunk::<CHECK>()?;
        if *sum != check(rest) {
            return None;
        }
        let (tag, body) = rest.strip_prefix(MAGIC)?.split_first()?;
        let numbers =
            || body.chunks_exact(8).map(|chunk| chunk.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        match tag {
            b'R' => Some(Self::Rows { header: None, rows: numbers().collect() }),
            b'H' => {
                let mut numbers = numbers();
                Some(Self::Rows { header: Some(numbers.next()?), rows: numbers.collect() })
            }
            b'F' => serde_json::from_slice(body).ok().map(Self::Files),
            _ => None,
        }
    }
}

/// How rows changed between two sketches of files.
pub(super) fn rows_between(old: &Sketch, new: &Sketch) -> Option<RowChange> {
    match (old, new) {
        (Sketch::Rows { header: a, rows: old }, Sketch::Rows { header: b, rows: new }) => {
            Some(RowChange { header: a != b, ..RowChange::between(old, new) })
        }
        _ => None,
    }
}

/// How files changed between two sketches of folders.
pub(super) fn files_between(old: &Sketch, new: &Sketch) -> Option<FileChange> {
    let (Sketch::Files(old), Sketch::Files(new)) = (old, new) else { return None };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut change = FileChange::default();
    for name in names {
        let list = match (old.get(name), new.get(name)) {
            (None, _) => &mut change.added,
            (_, None) => &mut change.removed,
            (a, b) if a != b => &mut change.changed,
            _ => continue,
        };
        list.push(name.clone());
    }
    Some(change)
}

impl fmt::Display for FileChange {
    /// `changed a.txt; added b.txt, c.txt and 2 more`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMED: usize = 3;
        let parts = [("changed", &self.changed), ("added", &self.added), ("removed", &self.removed)];
        let parts = parts.into_iter().filter(|(_, files)| !files.is_empty()).map(|(what, files)| {
            let named = files.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = files.len().saturating_sub(NAMED);
            if more > 0 { format!("{what} {named} and {more} more") } else { format!("{what} {named}") }
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))
    }
}

/// The digest of one row without its line's end; none of an empty line.
fn row(line: &[u8]) -> Option<u64> {
    let line = line.trim_ascii_end();
    (!line.is_empty()).then(|| u64::from_le_bytes(check(line)))
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut sum = [0; CHECK];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK]);
    sum
}

fn path(store: &Store, content: Digest) -> PathBuf {
    store.root().join(FOLDER).join(content.to_string())
}

fn make_room(folder: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort_unstable();
    let surplus = (kept.len() + 1).saturating_sub(KEPT);
    kept.iter().take(surplus).try_for_each(|(_, path)| fs_err::remove_file(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sketches_outlive_the_process_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        let content = Digest::of(b"x");
        let files = Sketch::Files([("a".to_owned(), Digest::of(b"a"))].into());
        for sketch in [Sketch::of_rows(b"1\n2\n", false), Sketch::of_rows(b"a,b\n1,2\n", true), files] {
            Sketch::keep(&store, content, || Some(sketch.clone())).unwrap();
            assert_eq!(Sketch::read(&store, content).as_ref(), Some(&sketch));
            let mut bytes = fs_err::read(path(&store, content)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs_err::write(path(&store, content), &bytes).unwrap();
            assert_eq!(Sketch::read(&store, content), None);
            fs_err::remove_file(path(&store, content)).unwrap();
        }
    }

    #[test]
    fn only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(".refit")).unwrap();
        for number in 0..KEPT + 5 {
            let content = Digest::of(&number.to_le_bytes());
            Sketch::keep(&store, content, || Some(Sketch::of_rows(b"1\n", false))).unwrap();
        }
        assert_eq!(fs_err::read_dir(store.root().join(FOLDER)).unwrap().count(), KEPT);
    }

    #[test]
    fn rows_are_lines_but_for_what_stands_in_quotation_marks() {
        let told = |old: &str, new: &str, header| {
            let sketch = |text: &str| Sketch::of_rows(text.as_bytes(), header);
            rows_between(&sketch(old), &sketch(new)).unwrap().to_string()
        };
        assert_eq!(told("1\n2\n", "1\r\n2", false), "no row has another content");
        assert_eq!(told("a,b\n1,\"x\ny\"\n3,4\n", "a,b\n1,\"x\nz\"\n3,4\n", true), "1 row changed (row 1)");
        assert_eq!(told("a,b\n1,2\n", "a,c\n1,2\n5,6\n", true), "another header, 1 row added");
    }

    #[test]
    fn files_of_a_folder_are_named() {
        let sketch = |files: &[(&str, &str)]| {
            Sketch::Files(files.iter().map(|(name, text)| ((*name).to_owned(), Digest::of(text.as_bytes()))).collect())
        };
        let old = sketch(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = sketch(&[("a", "2"), ("c", "1"), ("d", "1"), ("e", ""), ("f", ""), ("g", "")]);
        let change = files_between(&old, &new).unwrap();
        assert_eq!(change.to_string(), "changed a; added d, e, f and 1 more; removed b");
    }
}
