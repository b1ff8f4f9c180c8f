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
