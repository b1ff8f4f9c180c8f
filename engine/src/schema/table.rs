use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    graph::number,
    stage::{Registry, StageKind},
};

/// The manual of the stage kinds in Markdown: one table of all kinds, then one of each kind's parameters.
pub fn kinds_table(registry: &Registry) -> String {
    let mut text = String::from("| kind | what it does | inputs | outputs |\n| --- | --- | --- | --- |\n");
    for kind in registry.kinds() {
        let mut inputs: Vec<String> = kind
            .inputs
            .iter()
            .map(|port| {
                let kinds: Vec<_> = port.kinds.iter().map(|kind| kind.name()).collect();
                let optional = if port.required { "" } else { ", optional" };
                format!("`{}` ({}{optional})", port.name, kinds.join(" or "))
            })
            .collect();
        let mut outputs: Vec<String> =
            kind.outputs.iter().map(|port| format!("`{}` ({})", port.name, port.kind)).collect();
        if let Some(open) = kind.open {
            inputs.push(open.inputs.to_owned());
            outputs.push(open.outputs.to_owned());
        }
        row(&mut text, &[&format!("`{}`", kind.name), kind.summary, &inputs.join("<br>"), &outputs.join("<br>")]);
    }
    for kind in registry.kinds() {
        parameters(&mut text, kind);
    }
    text
}

fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        let cell = cell.replace("\n\n", "<br>").replace('\n', " ").replace('|', "\\|");
        let _ = write!(text, "| {} ", cell.trim());
    }
    text.push_str("|\n");
}

fn parameters(text: &mut String, kind: &StageKind) {
    let _ = write!(text, "\n#### `{}`\n\n", kind.name);
    let mut rows = Vec::new();
    fields(&kind.schema().to_value(), "", &mut rows);
    if rows.is_empty() {
        text.push_str("No parameters.\n");
        return;
    }
    text.push_str("| parameter | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for [name, value, default, meaning] in &rows {
        row(text, &[name, value, default, meaning]);
    }
}

/// The fields of a map, those of maps inside it after it with their whole path.
fn fields(schema: &Value, above: &str, rows: &mut Vec<[String; 4]>) {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let default = match field.get("default") {
            Some(Value::Null) => "–".to_owned(),
            Some(Value::Object(_)) => "see below".to_owned(),
            Some(value) => format!("`{value}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => "–".to_owned(),
        };
        let meaning = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{above}{name}");
        rows.push([format!("`{path}`"), what(field), default, meaning.to_owned()]);
        fields(inner(field), &format!("{path}."), rows);
        if let Some(items) = inner(field).get("items") {
            fields(inner(items), &format!("{path}[]."), rows);
        }
    }
}

/// The one alternative that is not null.
fn inner(schema: &Value) -> &Value {
    let Some(branches) = schema.get("anyOf").and_then(Value::as_array) else { return schema };
    let mut real = branches.iter().filter(|branch| branch.get("type") != Some(&Value::from("null")));
    match (real.next(), real.next()) {
        (Some(only), None) => only,
        _ => schema,
    }
}

/// What values a schema takes, in a few words.
fn what(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return code(value);
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array) {
        return options.iter().filter(|option| !option.is_null()).map(code).collect::<Vec<_>>().join(", ");
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
            let mut parts: Vec<String> = branches.iter().map(what).filter(|part| part != "nothing").collect();
            parts.dedup();
            let all_options = branches.iter().all(|branch| branch.get("const").or(branch.get("enum")).is_some());
            return parts.join(if all_options { ", " } else { " or " });
        }
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        _ => vec!["any"],
    };
    let parts: Vec<String> = types.iter().map(|kind| one(kind, schema)).collect();
    parts.join(" or ")
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn one(kind: &str, schema: &Value) -> String {
    match kind {
        "boolean" => "`true`, `false`".to_owned(),
        "integer" => format!("whole number{}", range(schema)),
        "number" => format!("number{}", range(schema)),
        "string" => "text".to_owned(),
        "array" => schema.get("items").map_or_else(|| "list".to_owned(), |items| format!("list of {}", what(items))),
        "object" => "map".to_owned(),
        "null" => "nothing".to_owned(),
        _ => "any value".to_owned(),
    }
}

fn range(schema: &Value) -> String {
    // The width of a type is no news to a reader.
    let widths = [json!(u8::MAX), json!(u16::MAX), json!(u32::MAX), json!(u64::MAX)];
    let bound = |keyword: &str, sign: &str| {
        let limit = schema.get(keyword).filter(|&limit| !(schema.get("format").is_some() && widths.contains(limit)))?;
        Some(format!("{sign} {}", number(limit)))
    };
    let low = bound("minimum", "≥").or_else(|| bound("exclusiveMinimum", ">"));
    let high = bound("maximum", "≤").or_else(|| bound("exclusiveMaximum", "<"));
    match (low, high) {
        (None, None) => String::new(),
        (Some(one), None) | (None, Some(one)) => format!(" {one}"),
        (Some(low), Some(high)) => format!(" {low} and {high}"),
    }
}
