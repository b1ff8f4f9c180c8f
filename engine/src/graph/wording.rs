//! What a schema's refusal means in plain words.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::source::{choice, nearest};

/// A mistake in words.
pub(super) struct Said {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) label: String,
    pub(super) help: Option<String>,
}

fn said(code: &'static str, message: String, label: impl Into<String>) -> Said {
    Said { code, message, label: label.into(), help: None }
}

/// A refusal of the value called `name`, which is written as `written` where it is a single value.
pub(super) fn of(error: &ValidationError<'_>, name: &str, written: Option<&str>) -> Said {
    let value = error.instance().as_ref();
    let range = |bound: String| {
        said(
            "pipeline::out_of_range",
            format!("{name} must be {bound}, found {}", shown(value)),
            format!("must be {bound}"),
        )
    };
    let size = |what: &str, bound: String, found: usize| {
        said(
            "pipeline::out_of_range",
            format!("{name} must have {bound} {what}, found {found}"),
            format!("must have {bound} {what}"),
        )
    };
    let length = value.as_str().map_or(0, |text| text.chars().count());
    let items = value.as_array().map_or(0, Vec::len);
    let keys = value.as_object().map_or(0, serde_json::Map::len);
    match error.kind() {
        Kind::Type { kind } => {
            let types: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(set) => set.iter().map(|one| one.to_string()).collect(),
            };
            alternatives(&[], &types, value, name, written)
        }
        Kind::Enum { options } => {
            alternatives(options.as_array().map(Vec::as_slice).unwrap_or_default(), &[], value, name, written)
        }
        Kind::Constant { expected_value } => {
            alternatives(std::slice::from_ref(expected_value.as_ref()), &[], value, name, written)
        }
        Kind::Minimum { limit } => range(format!("at least {}", number(limit))),
        Kind::Maximum { limit } => range(format!("at most {}", number(limit))),
        Kind::ExclusiveMinimum { limit } => range(format!("more than {}", number(limit))),
        Kind::ExclusiveMaximum { limit } => range(format!("less than {}", number(limit))),
        Kind::MultipleOf { multiple_of } => range(format!("a multiple of {multiple_of}")),
        Kind::MinLength { limit: 1 } => said("pipeline::out_of_range", format!("{name} must not be empty"), "empty"),
        Kind::MinLength { limit } => size("characters", format!("at least {limit}"), length),
        Kind::MaxLength { limit } => size("characters", format!("at most {limit}"), length),
        Kind::MinItems { limit: 1 } => {
            said("pipeline::out_of_range", format!("{name} must not be an empty list"), "empty")
        }
        Kind::MinItems { limit } => size("items", format!("at least {limit}"), items),
        Kind::MaxItems { limit } => size("items", format!("at most {limit}"), items),
        Kind::AdditionalItems { limit } => size("items", format!("at most {limit}"), items),
        Kind::MinProperties { limit: 1 } => {
            said("pipeline::out_of_range", format!("{name} must not be empty"), "empty")
        }
        Kind::MinProperties { limit } => size("keys", format!("at least {limit}"), keys),
        Kind::MaxProperties { limit } => size("keys", format!("at most {limit}"), keys),
        Kind::UniqueItems => {
            said("pipeline::bad_value", format!("{name} has the same item twice"), "an item is repeated")
        }
        Kind::Pattern { pattern } => Said {
            help: Some(format!("it must match the regular expression `{pattern}`")),
            ..said(
                "pipeline::bad_value",
                format!("{name} does not have the right form, found {}", shown(value)),
                "wrong form",
            )
        },
        Kind::FalseSchema => said("pipeline::bad_value", format!("{name} must not be given here"), "not allowed here"),
        _ => said("pipeline::bad_value", format!("{name} does not fit: {error}"), "does not fit"),
    }
}

/// A value that is none of these options and of none of these JSON types.
pub(super) fn alternatives(
    options: &[Value],
    types: &[String],
    value: &Value,
    name: &str,
    written: Option<&str>,
) -> Said {
    let mut types: Vec<&str> = types.iter().map(String::as_str).filter(|&kind| kind != "null").collect();
    if types.contains(&"number") {
        types.retain(|&kind| kind != "integer");
    }
    types.dedup();
    let texts: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
    if !texts.is_empty() {
        types.retain(|&kind| kind != "string");
    }
    if !texts.is_empty() && (types.is_empty() || value.is_string()) {
        let meant = value.as_str().and_then(|text| nearest(text, texts.iter().copied()));
        let also = types.iter().flat_map(|&kind| [" or ", noun(kind)]).collect::<String>();
        let help = match (meant, value) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Value::Bool(_)) if texts.iter().any(|text| matches!(*text, "true" | "false")) => {
                "put it in quotation marks".to_owned()
            }
            _ => format!("it may be {}{also}", choice(texts.iter().copied())),
        };
        return Said {
            help: Some(help),
            ..said(
                "pipeline::unknown_value",
                format!("{name} cannot be {}", shown(value)),
                "none of the values it may have",
            )
        };
    }
    let mut nouns: Vec<String> = types.iter().map(|&kind| noun(kind).to_owned()).collect();
    if !texts.is_empty() {
        nouns.push(format!("one of {}", choice(texts.iter().copied())));
    }
    if types.is_empty() && !options.is_empty() && texts.is_empty() {
        nouns.push(options.iter().map(Value::to_string).collect::<Vec<_>>().join(" or "));
    }
    if nouns.is_empty() {
        nouns.push("something else".to_owned());
    }
    let needed = nouns.join(" or ");
    Said {
        help: types.iter().find_map(|&kind| conversion(kind, value, written)),
        ..said(
            "pipeline::wrong_type",
            format!("{name} must be {needed}, found {}", found(value)),
            format!("{needed} is needed here"),
        )
    }
}

/// How to write what was probably meant.
fn conversion(needed: &str, value: &Value, written: Option<&str>) -> Option<String> {
    if value.is_null() {
        return Some("nothing is written there: give a value, or leave the key out where it is optional".to_owned());
    }
    let written = written.unwrap_or_default();
    match (needed, value) {
        ("boolean", Value::String(text)) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" => Some(format!("YAML 1.2 reads `{text}` as text; write `true`")),
            "no" | "off" | "n" => Some(format!("YAML 1.2 reads `{text}` as text; write `false`")),
            "true" | "false" => Some(format!("leave the quotation marks out: `{}`", text.to_lowercase())),
            _ => None,
        },
        ("boolean", Value::Number(number)) => match number.as_u64() {
            Some(0) => Some("write `false`".to_owned()),
            Some(1) => Some("write `true`".to_owned()),
            _ => None,
        },
        ("number" | "integer", Value::String(text)) => {
            let bare = text.trim().replace(['_', ',', ' '], "");
            let fits = |text: &str| {
                if needed == "integer" {
                    text.parse::<i64>().is_ok()
                } else {
                    text.parse::<f64>().is_ok_and(f64::is_finite)
                }
            };
            if fits(text) && written.starts_with(['"', '\'']) {
                Some(format!("leave the quotation marks out: `{text}`"))
            } else if let Some(percent) = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok()) {
                Some(format!("write `{}`", percent / 100.0))
            } else if fits(&bare) {
                let plain = bare.parse::<i64>().map_or_else(|_| bare.clone(), |number| number.to_string());
                Some(format!("write `{plain}`: YAML reads `{text}` as text"))
            } else {
                None
            }
        }
        ("integer", Value::Number(_)) => Some("give a number without a fraction".to_owned()),
        ("string", Value::Number(_) | Value::Bool(_)) => Some(format!("put it in quotation marks: `\"{written}\"`")),
        ("array", Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            Some(format!("write it as a list: `[{written}]`"))
        }
        _ => None,
    }
}

fn noun(kind: &str) -> &'static str {
    match kind {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    }
}

/// A number without a fraction that says nothing.
pub(crate) fn number(value: &Value) -> String {
    let text = value.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// What a value is, in words.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() <= 40 => format!("`{text}`"),
        Value::Number(number) => number.to_string(),
        other => found(other),
    }
}

/// The first sentence of a doc comment, without its full stop.
pub(super) fn first_sentence(text: &str) -> String {
    let line = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    line.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}
