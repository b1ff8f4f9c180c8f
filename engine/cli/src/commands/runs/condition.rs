use std::cmp::Ordering;

use serde_json::Value;

use super::Row;

/// What a run must be like to be listed: `params.rank=8`, `after.rouge_l>0.3`, `train.base~smol`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    /// What is looked at.
    pub(crate) name: String,
    is: Is,
    /// As it was written, and read as YAML reads it: `8`, `1e-4`, `true` are what they look like.
    text: String,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Equal,
    Different,
    Less,
    AtMost,
    More,
    AtLeast,
    Containing,
}

/// The longer signs first: each begins with a shorter one.
const SIGNS: [(&str, Is); 7] = [
    ("!=", Is::Different),
    ("<=", Is::AtMost),
    (">=", Is::AtLeast),
    ("=", Is::Equal),
    ("<", Is::Less),
    (">", Is::More),
    ("~", Is::Containing),
];

impl Condition {
    /// Reads `NAME SIGN VALUE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "it is a name, one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `~` (contains), and a value: `after.rouge_l>0.3`"
                .to_owned()
        };
        let at = sign_at(text).ok_or_else(wrong)?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let (sign, is) = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(wrong)?;
        let value = rest[sign.len()..].trim();
        // `==` is what a programmer's fingers type.
        let value = if is == Is::Equal { value.strip_prefix('=').unwrap_or(value).trim() } else { value };
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), is, text: value.to_owned(), value: read(value) })
    }

    /// Whether a run is like that. One that has no such value is not.
    pub(crate) fn fits(&self, row: &Row<'_>) -> bool {
        row.value(&self.name).is_some_and(|value| self.fits_value(&value))
    }

    fn fits_value(&self, value: &Value) -> bool {
        let shown = plain(value);
        let order = || compare(value, &self.value);
        match self.is {
            Is::Equal => order() == Ordering::Equal || shown == self.text,
            Is::Different => order() != Ordering::Equal && shown != self.text,
            Is::Less => order() == Ordering::Less,
            Is::AtMost => order() != Ordering::Greater,
            Is::More => order() == Ordering::Greater,
            Is::AtLeast => order() != Ordering::Less,
            Is::Containing => shown.contains(&self.text),
        }
    }
}

/// Where the sign begins. The name of a copy of a stage holds signs of its own: `train[rank=8].alpha`.
fn sign_at(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '!' | '=' | '<' | '>' | '~' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    })
}

/// A value as YAML reads it; what is no YAML is text.
fn read(text: &str) -> Value {
    refit_engine::spec::Override::parse(&format!("value={text}"))
        .map_or_else(|_| Value::String(text.to_owned()), |given| given.value)
}

/// Numbers by size, all else by its text.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => plain(a).cmp(&plain(b)),
    }
}

/// Text without its quotation marks, everything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_compare_numbers_as_numbers_and_text_as_text() {
        for (condition, value, fits) in [
            ("a=8", json!(8), true),
            ("a==8", json!(8.0), true),
            ("a = 0.0001", json!(1e-4), true),
            ("a=1e-4", json!(1e-4), true),
            ("a!=8", json!(16), true),
            ("a<10", json!(9), true),
            ("a>=10", json!(9), false),
            ("a<=9", json!(9), true),
            ("a=near", json!("near"), true),
            ("a=true", json!(true), true),
            ("a~evn", json!("eleven"), false),
            ("a~leve", json!("eleven"), true),
            ("a=[1,2]", json!([1, 2]), true),
            ("a>b", json!("c"), true),
        ] {
            let read = Condition::parse(condition).unwrap();
            assert_eq!((read.name.as_str(), read.fits_value(&value)), ("a", fits), "{condition} of {value}");
        }
        assert_eq!(Condition::parse("train[rank=8,lr=0.1].alpha<32").unwrap().name, "train[rank=8,lr=0.1].alpha");
        for wrong in ["", "a", "=8", "a:8"] {
            assert!(Condition::parse(wrong).is_err(), "{wrong}");
        }
    }
}
