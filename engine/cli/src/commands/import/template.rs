//! `${…}` in a dvc.yaml.

use serde_json::Value;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it stands.
    Text(String),
    /// `${train.lr}` or `${item[0]}`: the steps of its path.
    Reference(Vec<String>),
}

/// Takes a text apart. `\${` is a plain `${`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut plain) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('\\') {
            plain.push_str(before);
            plain.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        plain.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or_else(|| format!("the `${{` in `{text}` is not closed"))? + at;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Reference(steps(&rest[at + 2..end])));
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// `a.b[0]` → `a`, `b`, `0`.
fn steps(path: &str) -> Vec<String> {
    path.trim().split(['.', '[']).map(|step| step.trim_end_matches(']').trim().to_owned()).collect()
}

/// Follows a path down from a value.
pub(super) fn find<'v>(root: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(root, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })
}

/// A value within a command, as DVC writes it: a map becomes `--key value`, a list its items.
pub(super) fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(spelled).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(key, value)| match value {
                Value::Bool(true) => Some(format!("--{key}")),
                Value::Bool(false) => None,
                value => Some(format!("--{key} {}", spelled(value))),
            })
            .collect::<Vec<_>>()
            .join(" "),
        value => value.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_fall_into_pieces() {
        let reference = |steps: &[&str]| Piece::Reference(steps.iter().map(|step| (*step).to_owned()).collect());
        assert_eq!(pieces("a ${train.lr}").unwrap(), [Piece::Text("a ".into()), reference(&["train", "lr"])]);
        assert_eq!(pieces("${ item[0] }").unwrap(), [reference(&["item", "0"])]);
        assert_eq!(pieces(r"x\${HOME}y").unwrap(), [Piece::Text("x${HOME}y".into())]);
        assert_eq!(pieces("").unwrap(), [Piece::Text(String::new())]);
        assert!(pieces("${x").is_err());
    }

    #[test]
    fn values_are_spelled_as_in_a_command() {
        assert_eq!(spelled(&json!({"lr": 0.1, "fast": true, "slow": false, "l": [1, "b"]})), "--lr 0.1 --fast --l 1 b");
        assert_eq!(find(&json!({"a": [1, {"b": 2}]}), &["a".into(), "1".into(), "b".into()]), Some(&json!(2)));
    }
}
