use std::collections::BTreeMap;

use serde_json::Value;

/// The leaves of a parameter tree by dotted path. A list is one leaf: its items have no names to tell them apart. What is
/// null is not there.
pub fn leaves(value: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found
}

fn walk<'v>(path: &str, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, found);
            }
        }
        Value::Null => {}
        leaf => {
            found.insert(path.to_owned(), leaf);
        }
    }
}
