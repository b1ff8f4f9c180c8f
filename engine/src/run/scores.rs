use refit_cache::{Digest, Store, Tree};
use serde_json::{Map, Value};

/// What the artifacts of a step, by port, say about the model: the numbers of a `metrics.json`, or of a file at the port
/// `metrics`; the verdict of a `comparison.json`. Only small files are opened, and only those that are there.
pub(super) fn scores<'t>(
    store: &Store,
    outputs: impl IntoIterator<Item = (&'t String, &'t Tree)>,
) -> Map<String, Value> {
    let mut scores = Map::new();
    for (port, tree) in outputs {
        if let Some(metrics) = read_json(store, file_at(port, tree, METRICS)) {
            add_numbers("", metrics, &mut scores);
        }
        let comparison = tree.entry("comparison.json").map(|entry| (entry.digest, entry.bytes));
        if let Some(verdict) = read_json(store, comparison).and_then(|mut read| read.remove(VERDICT)) {
            scores.insert(VERDICT.to_owned(), verdict);
        }
    }
    scores
}

/// The object that holds a history, a row a line, if the artifact at a port has one.
pub fn history_at(port: &str, tree: &Tree) -> Option<Digest> {
    file_at(port, tree, HISTORY).map(|(object, _)| object)
}

/// The port at which a command may put just the file, and the file's name in a folder at any port.
const METRICS: (&str, &str) = ("metrics", "metrics.json");
const HISTORY: (&str, &str) = ("history", "history.jsonl");
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

/// The object and the size of a file that is an artifact itself, or lies in its folder.
fn file_at(port: &str, tree: &Tree, (own_port, name): (&str, &str)) -> Option<(Digest, u64)> {
    match tree.content.object() {
        Some(object) => (port == own_port).then_some((object, tree.bytes)),
        None => tree.entry(name).map(|entry| (entry.digest, entry.bytes)),
    }
}

/// A small file with a JSON object. What is not readable as one tells nothing: the stage that reads the artifact says what is
/// wrong with it.
fn read_json(store: &Store, file: Option<(Digest, u64)>) -> Option<Map<String, Value>> {
    let (object, _) = file.filter(|(_, bytes)| *bytes <= LARGEST)?;
    serde_json::from_slice(&fs_err::read(store.object_path(&object)).ok()?).ok()
}
