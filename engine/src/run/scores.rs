use refit_cache::{Content, Store, Tree};
use serde_json::{Map, Value};

/// What the artifacts of a step say about the model: the numbers of a `metrics.json`, the verdict of a
/// `comparison.json`. Only small files are opened, and only those that are there.
pub(super) fn scores<'t>(store: &Store, outputs: impl IntoIterator<Item = &'t Tree>) -> Map<String, Value> {
    let mut scores = Map::new();
    for tree in outputs {
        if let Some(metrics) = read_json(store, tree, "metrics.json") {
            scores.extend(metrics.into_iter().filter(|(_, value)| value.is_number()));
        }
        if let Some(verdict) = read_json(store, tree, "comparison.json").and_then(|mut read| read.remove(VERDICT)) {
            scores.insert(VERDICT.to_owned(), verdict);
        }
    }
    scores
}

/// The one word of a comparison.
const VERDICT: &str = "verdict";
/// A file of that name that is larger holds something else.
const LARGEST: u64 = 1 << 20;

/// A JSON object in a folder of an artifact. What is not readable as one tells nothing: the stage that reads the artifact
/// says what is wrong with it.
fn read_json(store: &Store, tree: &Tree, name: &str) -> Option<Map<String, Value>> {
    let Content::Folder(entries) = &tree.content else { return None };
    let entry = entries.iter().find(|entry| entry.path == name && entry.bytes <= LARGEST)?;
    serde_json::from_slice(&fs_err::read(store.object_path(&entry.digest)).ok()?).ok()
}
