use super::reader::Reader;
use crate::CheckpointError;

/// One metadata value. Arrays stay where they lie in the file: a vocabulary is read only when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Array),
}

/// An array of scalars or strings, checked to lie inside the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Array {
    element: u32,
    count: usize,
    start: usize,
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The size of a scalar type.
fn scalar_size(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

impl Value {
    pub(super) fn read(reader: &mut Reader<'_>, kind: u32, key: &str) -> Result<Self, CheckpointError> {
        match kind {
            STRING => Ok(Self::Text(reader.string(key)?.to_owned())),
            ARRAY => Array::skip(reader, key).map(Self::Array),
            _ => Self::scalar(reader, kind, key),
        }
    }

    fn scalar(reader: &mut Reader<'_>, kind: u32, key: &str) -> Result<Self, CheckpointError> {
        let size = scalar_size(kind).ok_or_else(|| {
            CheckpointError::new("gguf::bad_value_type", format!("the metadata `{key}` has the unknown type {kind}"))
                .with_help("the file is damaged or newer than GGUF version 3")
        })?;
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(reader.take(size, key)?);
        let bits = u64::from_le_bytes(wide);
        Ok(match kind {
            1 => Self::Signed(i64::from(bits as i8)),
            3 => Self::Signed(i64::from(bits as i16)),
            5 => Self::Signed(i64::from(bits as i32)),
            11 => Self::Signed(bits as i64),
            6 => Self::Float(f64::from(f32::from_bits(bits as u32))),
            12 => Self::Float(f64::from_bits(bits)),
            7 => Self::Bool(bits != 0),
            _ => Self::Unsigned(bits),
        })
    }
}

impl Array {
    /// Walks over an array and remembers where it lies.
    fn skip(reader: &mut Reader<'_>, key: &str) -> Result<Self, CheckpointError> {
        let element = reader.u32(key)?;
        if element == ARRAY {
            return Err(CheckpointError::new(
                "gguf::nested_array",
                format!("the metadata `{key}` is an array of arrays"),
            ));
        }
        let least = if element == STRING { 8 } else { scalar_size(element).unwrap_or(1) };
        let count = reader.count(least, key)?;
        let start = reader.position();
        if element == STRING {
            for _ in 0..count {
                let length = reader.size(key)?;
                reader.take(length, key)?;
            }
        } else if scalar_size(element).is_some() {
            reader.take(count * least, key)?;
        } else {
            return Err(CheckpointError::new(
                "gguf::bad_value_type",
                format!("the metadata `{key}` is an array of the unknown type {element}"),
            ));
        }
        Ok(Self { element, count, start })
    }

    pub(super) fn texts<'a>(&self, file: &'a [u8], key: &str) -> Result<Vec<&'a str>, CheckpointError> {
        if self.element != STRING {
            return Err(wrong_type(key, "a list of texts"));
        }
        let mut reader = Reader::new(file, self.start);
        (0..self.count).map(|_| reader.string(key)).collect()
    }

    pub(super) fn numbers(&self, file: &[u8], key: &str) -> Result<Vec<f64>, CheckpointError> {
        if self.element == STRING {
            return Err(wrong_type(key, "a list of numbers"));
        }
        let mut reader = Reader::new(file, self.start);
        (0..self.count)
            .map(|_| match Value::scalar(&mut reader, self.element, key)? {
                Value::Unsigned(value) => Ok(value as f64),
                Value::Signed(value) => Ok(value as f64),
                Value::Float(value) => Ok(value),
                _ => Err(wrong_type(key, "a list of numbers")),
            })
            .collect()
    }
}

pub(super) fn wrong_type(key: &str, expected: &str) -> CheckpointError {
    CheckpointError::new("gguf::wrong_type", format!("the metadata `{key}` is not {expected}"))
}
