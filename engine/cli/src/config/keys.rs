//! The keys there are, as the types say it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// One setting: its dotted name and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Such as `cache.remote`.
    pub(crate) name: String,
    /// One sentence.
    pub(crate) meaning: String,
    /// The types of JSON it may have.
    types: Vec<String>,
}

impl Key {
    /// Text as the value of this key: a number or a truth value where it is one, else the text.
    pub(crate) fn value(&self, text: &str) -> Value {
        let read = |wanted: &str| self.types.iter().any(|name| name == wanted);
        match (text.parse::<u64>(), text) {
            (Ok(number), _) if read("integer") => number.into(),
            (_, "true" | "false") if read("boolean") => (text == "true").into(),
            _ => text.into(),
        }
    }
}

/// All keys in the order of the manual.
pub(crate) fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let schema = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<Config>();
        let mut keys = Vec::new();
        collect("", schema.as_value(), &mut keys);
        keys
    });
    &KEYS
}

/// The key of that name.
pub(crate) fn known(name: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.name == name)
}

fn collect(prefix: &str, schema: &Value, keys: &mut Vec<Key>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{prefix}{name}");
        if property.get("properties").is_some() {
            collect(&format!("{name}."), property, keys);
        } else {
            let meaning = property["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
            keys.push(Key { name, meaning: meaning.join(" "), types: types(property) });
        }
    }
}

fn types(property: &Value) -> Vec<String> {
    match &property["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// `{"cache": {"remote": value}}` for the key `cache.remote`.
pub(super) fn nested(name: &str, value: Value) -> Value {
    name.rsplit('.').fold(value, |inner, part| Value::Object(Map::from_iter([(part.to_owned(), inner)])))
}

/// The value of a dotted key in nested maps.
pub(super) fn find<'v>(root: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(root, |value, part| value.get(part))
}
