//! How values and copies are written in names.

use serde_json::{Map, Value};

/// What a name of a file has at most, in bytes, before its end is replaced by a digest.
const LONGEST: usize = 120;

/// The text of a value in the name of a copy. Read as YAML it is that value again.
pub(in crate::graph) fn label(value: &Value, written: Option<&str>) -> String {
    let reads_back = |text: &str| serde_yaml::from_str::<Value>(text).is_ok_and(|read| read == *value);
    match (value, written) {
        (Value::String(text), _) if is_word(text) && reads_back(text) => text.clone(),
        (Value::Number(_) | Value::Bool(_) | Value::Null, Some(written)) if is_word(written) && reads_back(written) => {
            written.to_owned()
        }
        _ => plain(value),
    }
}

/// One text for all spellings of a value.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
            Some(whole) if whole.abs() < 1e15 => (whole as i64).to_string(),
            _ => number.to_string(),
        },
        Value::String(text) if is_word(text) && serde_yaml::from_str::<Value>(text).is_ok_and(|read| read == *text) => {
            text.clone()
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| key.as_bytes());
            Value::Object(sorted.into_iter().map(|(key, field)| (key.clone(), field.clone())).collect::<Map<_, _>>())
                .to_string()
        }
        other => other.to_string(),
    }
}

/// Whether a text needs no quotation marks in a name.
fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | ':' | '@' | '%' | '~');
    !text.is_empty() && text.chars().all(allowed)
}

/// A name as the name of a file: the same where it can be, else with a digest at its end, so that different names stay
/// different.
pub fn file_name(name: &str) -> String {
    let allowed =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '=' | ',' | '[' | ']' | '@' | '%');
    if name.len() <= LONGEST && !name.starts_with('.') && !name.is_empty() && name.chars().all(allowed) {
        return name.to_owned();
    }
    let mut safe = String::new();
    for c in name.trim_start_matches('.').chars().map(|c| if allowed(c) { c } else { '-' }) {
        if safe.len() + c.len_utf8() > LONGEST {
            break;
        }
        safe.push(c);
    }
    format!("{safe}-{}", &blake3::hash(name.as_bytes()).to_hex()[..12])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_what_is_written_where_that_is_clear() {
        assert_eq!(label(&json!(1e-4), Some("1e-4")), "1e-4");
        assert_eq!(label(&json!(0.0001), None), "0.0001");
        assert_eq!(label(&json!(8), Some("0x8")), "0x8");
        assert_eq!(label(&json!("near"), Some("'near'")), "near");
        assert_eq!(label(&json!("8"), Some("\"8\"")), "\"8\"");
        assert_eq!(label(&json!("a, b"), Some("'a, b'")), "\"a, b\"");
        assert_eq!(label(&json!("no"), Some("no")), "no");
        assert_eq!(label(&json!(["a", 1]), Some("[a, 1]")), "[\"a\",1]");
        assert_eq!(label(&json!(null), Some("")), "null");
    }

    #[test]
    fn spelling_does_not_show_in_plain_labels() {
        assert_eq!(plain(&json!(8.0)), plain(&json!(8)));
        assert_eq!(plain(&json!(-0.0)), plain(&json!(0)));
        assert_eq!(plain(&json!({"b": 1, "a": 2})), plain(&json!({"a": 2, "b": 1})));
    }

    #[test]
    fn names_of_files_stay_readable_and_different() {
        assert_eq!(file_name("train[rank=8,lr=1e-4]"), "train[rank=8,lr=1e-4]");
        assert_eq!(file_name("训练"), "训练");
        assert!(file_name("eval/clean").starts_with("eval-clean-"));
        assert_ne!(file_name("a/b"), file_name("a b"));
        assert!(!file_name("..").contains(".."));
        assert!(file_name(&"x".repeat(5000)).len() < 140);
        assert!(file_name(&"学".repeat(5000)).len() < 140);
    }

    proptest! {
        #[test]
        fn labels_read_back(text in "\\PC{0,12}", number in any::<f64>().prop_filter("finite", |n| n.is_finite()), whole in any::<i64>()) {
            for value in [json!(text), json!(number), json!(whole), json!([text, whole])] {
                let read: Value = serde_yaml::from_str(&label(&value, None)).unwrap();
                prop_assert_eq!(refit_cache::canonical::canonical(&read), refit_cache::canonical::canonical(&value));
            }
        }

        #[test]
        fn names_of_files_are_single_plain_names(name in "\\PC{0,200}") {
            let safe = file_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= 140 && safe != "." && safe != "..");
            prop_assert!(!safe.contains(['/', '\0', '\\', ' ', '"']));
        }
    }
}
