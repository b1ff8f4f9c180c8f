use refit_cache::{Content, Store, Tree};
use serde_json::{Map, Value};

/// What the artifacts of a step, by port, say about the model: the numbers of a `metrics.json`, or of a file at the port
/// `metrics`; the verdict of a `comparison.json`. Only small files are opened, and only those that are there.
pub(super) fn scores<'t>(
    store: &Store,
    outputs: impl IntoIterator<Item = (&'t String, &'t Tree)>,
) -> Map<String, Value> {
    let mut scores = Map::new();
    for (port, tree) in outputs {
        let metrics = if port == METRICS { read_file(store, tree) } else { None };
        if let Some(metrics) = metrics.or_else(|| read_json(store, tree, "metrics.json")) {
            add_numbers("", metrics, &mut scores);
        }
        if let Some(verdict) = read_json(store, tree, "comparison.json").and_then(|mut read| read.remove(VERDICT)) {
            scores.insert(VERDICT.to_owned(), verdict);
        }
    }
    scores
}

/// The port at which a command may put a file of scores.
const METRICS: &str = "metrics";
/// The one word of a comparison.
const VERDICT: &str = "verdict";
/// A file of that name that is larger holds something else.
const LARGEST: u64 = 1 << 20;

/// The numbers of an object; one within another is named `outer.inner`.
fn add_numbers(above: &str, values: Map<String, Value>, numbers: &mut Map<String, Value>) {
    for (name, value) in values {
        let name = format!("{above}{name}");
        match value {
            Value::Number(_) => {
                numbers.insert(name, value);
            }
            Value::Object(values) => add_numbers(&format!("{name}."), values, numbers),
            _ => {}
        }
    }
}

/// A JSON object in a folder of an artifact. What is not readable as one tells nothing: the stage that reads the artifact
/// says what is wrong with it.
fn read_json(store: &Store, tree: &Tree, name: &str) -> Option<Map<String, Value>> {
    let Content::Folder(entries) = &tree.content else { return None };
    let entry = entries.iter().find(|entry| entry.path == name && entry.bytes <= LARGEST)?;
    serde_json::from_slice(&fs_err::read(store.object_path(&entry.digest)).ok()?).ok()
}

/// An artifact of one file that is a JSON object.
fn read_file(store: &Store, tree: &Tree) -> Option<Map<String, Value>> {
    let object = tree.content.object()?;
    if tree.bytes > LARGEST {
        return None;
    }
    serde_json::from_slice(&fs_err::read(store.object_path(&object)).ok()?).ok()
}
