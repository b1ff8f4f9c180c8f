//! One byte string for each value, whatever text it was written as.
//!
//! Every item is a type tag, then for strings, lists and maps a length as `u64` little-endian, then the contents; maps
//! are sorted by their keys' bytes. A number is what it counts, not how it is written: `32`, `32.0` and `3.2e1` are one
//! value, and so are `0`, `0.0` and `-0.0`. The form is prefix-free, so different values never share their bytes.

use serde_json::{Number, Value};

const NULL: u8 = b'n';
const FALSE: u8 = b'f';
const TRUE: u8 = b't';
const INTEGER: u8 = b'i';
const FLOAT: u8 = b'd';
const TEXT: u8 = b's';
const BYTES: u8 = b'b';
const LIST: u8 = b'a';
const MAP: u8 = b'o';

/// 2⁶⁴: integers of JSON end below it, so a whole float from here on is no integer's twin.
const INTEGER_LIMIT: f64 = 18_446_744_073_709_551_616.0;

/// Collects items in their canonical form.
#[derive(Debug, Default)]
pub struct CanonicalWriter {
    bytes: Vec<u8>,
}

impl CanonicalWriter {
    /// A writer that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written so far.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes any JSON value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.tag(NULL),
            Value::Bool(false) => self.tag(FALSE),
            Value::Bool(true) => self.tag(TRUE),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.list(items.len());
                for item in items {
                    self.value(item);
                }
                self
            }
            Value::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(name, _)| name.as_bytes());
                self.map(sorted.len());
                for (name, field) in sorted {
                    self.text(name).value(field);
                }
                self
            }
        }
    }

    /// Writes a string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.tag(TEXT).length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// Writes bytes that are no text, such as a digest.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.tag(BYTES).length(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes a whole number.
    pub fn integer(&mut self, integer: impl Into<i128>) -> &mut Self {
        self.tag(INTEGER);
        self.bytes.extend_from_slice(&integer.into().to_le_bytes());
        self
    }

    /// Opens a list; `length` items follow.
    pub fn list(&mut self, length: usize) -> &mut Self {
        self.tag(LIST).length(length)
    }

    /// Opens a map; `length` pairs of a text and an item follow, sorted by the bytes of the text.
    pub fn map(&mut self, length: usize) -> &mut Self {
        self.tag(MAP).length(length)
    }

    fn number(&mut self, number: &Number) -> &mut Self {
        if let Some(integer) = number.as_i64() {
            return self.integer(integer);
        }
        if let Some(integer) = number.as_u64() {
            return self.integer(integer);
        }
        let float = number.as_f64().unwrap_or(f64::NAN);
        if float.fract() == 0.0 && float.abs() < INTEGER_LIMIT {
            return self.integer(float as i128);
        }
        self.tag(FLOAT);
        self.bytes.extend_from_slice(&float.to_bits().to_le_bytes());
        self
    }

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.bytes.push(tag);
        self
    }

    fn length(&mut self, length: usize) -> &mut Self {
        self.bytes.extend_from_slice(&(length as u64).to_le_bytes());
        self
    }
}

/// The canonical form of one JSON value.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut writer = CanonicalWriter::new();
    writer.value(value);
    writer.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::{collection::vec, prelude::*};
    use serde_json::{Map, json};

    use super::*;

    /// A value that equals another exactly if the two mean the same: an independent statement of what counts.
    #[derive(Debug, PartialEq)]
    enum Meaning {
        Null,
        Bool(bool),
        Whole(i128),
        Fraction(u64),
        Text(String),
        List(Vec<Meaning>),
        Map(std::collections::BTreeMap<String, Meaning>),
    }

    fn meaning(value: &Value) -> Meaning {
        match value {
            Value::Null => Meaning::Null,
            Value::Bool(truth) => Meaning::Bool(*truth),
            Value::String(text) => Meaning::Text(text.clone()),
            Value::Array(items) => Meaning::List(items.iter().map(meaning).collect()),
            Value::Object(fields) => {
                Meaning::Map(fields.iter().map(|(name, field)| (name.clone(), meaning(field))).collect())
            }
            Value::Number(number) => {
                // With no digits after the point, the text of a whole float is exact, and that of another is rounded.
                let rounded = |float: f64| Some(format!("{float:.0}")).filter(|text| text.parse() == Ok(float));
                let text = if number.is_f64() { number.as_f64().and_then(rounded) } else { Some(number.to_string()) };
                let text = text.unwrap_or_default();
                match text.parse::<i128>() {
                    Ok(whole) if whole.unsigned_abs() < 1 << 64 => Meaning::Whole(whole),
                    _ => Meaning::Fraction(number.as_f64().unwrap().to_bits()),
                }
            }
        }
    }

    fn number() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-40_i64..40).prop_map(Value::from),
            (-40_i64..40).prop_map(|whole| Value::from(whole as f64)),
            (-80_i64..80).prop_map(|halves| Value::from(halves as f64 / 2.0)),
            (52_u32..66).prop_map(|power| Value::from(2_f64.powi(power as i32))),
            (52_u32..64).prop_map(|power| Value::from(1_u64 << power)),
            any::<f64>().prop_map(Value::from),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number(),
            "[ab\u{0}é学]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec(("[ab]{0,2}", inner), 0..4)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn equal_bytes_mean_equal_values(a in value(), b in value()) {
            prop_assert_eq!(canonical(&a) == canonical(&b), meaning(&a) == meaning(&b));
        }

        #[test]
        fn numbers_count_not_their_spelling(a in number(), b in number()) {
            prop_assert_eq!(canonical(&a) == canonical(&b), meaning(&a) == meaning(&b));
        }

        #[test]
        fn no_form_begins_another(a in value(), b in value()) {
            let (a, b) = (canonical(&a), canonical(&b));
            prop_assert!(a == b || !b.starts_with(&a));
        }

        #[test]
        fn order_of_fields_is_nothing(fields in vec(("[a-d]{1,2}", number()), 0..6)) {
            let unique: std::collections::BTreeMap<_, _> = fields.into_iter().collect();
            let forward: Map<_, _> = unique.clone().into_iter().collect();
            let backward: Map<_, _> = unique.into_iter().rev().collect();
            prop_assert_eq!(canonical(&Value::from(forward)), canonical(&Value::from(backward)));
        }
    }

    #[test]
    fn one_number_has_one_form() {
        for (a, b) in [("32", "32.0"), ("32", "3.2e1"), ("0", "-0.0"), ("0.0", "-0.0"), ("1e-4", "0.0001")] {
            let [a, b] = [a, b].map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(canonical(&a), canonical(&b), "{a} {b}");
        }
        // The float next to 2^53 + 1 is 2^53: another number.
        assert_ne!(canonical(&json!(9_007_199_254_740_993_u64)), canonical(&json!(9_007_199_254_740_992.0)));
        assert_eq!(canonical(&json!(9_007_199_254_740_992_u64)), canonical(&json!(9_007_199_254_740_992.0)));
        assert_ne!(canonical(&json!(u64::MAX)), canonical(&json!(u64::MAX as f64)));
    }

    #[test]
    fn different_kinds_differ() {
        let all =
            [json!(null), json!(false), json!(true), json!(0), json!("0"), json!(""), json!([]), json!({}), json!([0])];
        for (place, a) in all.iter().enumerate() {
            for b in &all[place + 1..] {
                assert_ne!(canonical(a), canonical(b), "{a} {b}");
            }
        }
    }
}
