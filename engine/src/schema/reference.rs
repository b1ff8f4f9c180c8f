//! Lets `${params.NAME}` and `${matrix.AXIS}` stand wherever a parameter's value may.

use serde_json::{Map, Value, json};

/// Where the schema of a reference lies.
pub(super) const REFERENCE: &str = "#/$defs/reference";
/// What an editor shows with a value stays outside the alternatives.
const SHOWN: [&str; 5] = ["title", "description", "default", "deprecated", "examples"];

/// The schema of a text with a reference in it.
pub(super) fn reference() -> Value {
    json!({
        "description": "A reference to a value under `params`, or of the copy that a matrix makes.",
        "type": "string",
        "pattern": r"\$\{ *(params|matrix)\."
    })
}

/// The schema with a reference allowed for every value inside it, but not for the whole.
pub(super) fn with_references(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let changed = fields.into_iter().map(|(keyword, value)| {
        let value = match (keyword.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(inner)) => {
                inner.into_iter().map(|(key, schema)| (key, alternative(schema))).collect::<Map<_, _>>().into()
            }
            ("items" | "additionalProperties" | "unevaluatedProperties", schema @ Value::Object(_)) => {
                alternative(schema)
            }
            ("prefixItems", Value::Array(items)) => items.into_iter().map(alternative).collect(),
            ("anyOf" | "oneOf" | "allOf", Value::Array(items)) => items.into_iter().map(with_references).collect(),
            ("$defs", Value::Object(inner)) => {
                inner.into_iter().map(|(key, schema)| (key, with_references(schema))).collect::<Map<_, _>>().into()
            }
            (_, value) => value,
        };
        (keyword, value)
    });
    changed.collect::<Map<_, _>>().into()
}

fn alternative(schema: Value) -> Value {
    let schema = with_references(schema);
    let Value::Object(mut fields) = schema else { return schema };
    if takes_any_text(&fields) {
        return Value::Object(fields);
    }
    let mut outer: Map<String, Value> =
        SHOWN.iter().filter_map(|&key| Some((key.to_owned(), fields.shift_remove(key)?))).collect();
    outer.insert("anyOf".into(), json!([fields, { "$ref": REFERENCE }]));
    Value::Object(outer)
}

fn takes_any_text(fields: &Map<String, Value>) -> bool {
    let is_text = match fields.get("type") {
        None => !["anyOf", "oneOf", "allOf", "$ref"].iter().any(|&key| fields.contains_key(key)),
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        Some(_) => false,
    };
    is_text && !["enum", "const", "pattern", "format", "maxLength"].iter().any(|&key| fields.contains_key(key))
}
