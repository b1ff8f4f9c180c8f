/// The metadata of a GGUF file in the making: keys with their values as the file spells them.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pairs: Vec<(String, Vec<u8>)>,
}

const UINT32: u32 = 4;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A text as the file spells it: its length and its bytes.
pub(super) fn spelled(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

impl Metadata {
    /// A value with its type, as a file spells both; replaces what was there.
    pub(super) fn raw(&mut self, key: &str, value: Vec<u8>) {
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.pairs.push((key.to_owned(), value)),
        }
    }

    fn typed(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        self.raw(key, [kind.to_le_bytes().to_vec(), value].concat());
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.typed(key, STRING, spelled(value));
    }

    pub(super) fn count(&mut self, key: &str, value: usize) {
        self.typed(key, UINT32, (value as u32).to_le_bytes().into());
    }

    pub(super) fn float(&mut self, key: &str, value: f64) {
        self.typed(key, FLOAT32, (value as f32).to_le_bytes().into());
    }

    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.typed(key, BOOL, vec![u8::from(value)]);
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, items: Vec<u8>) {
        let head = [kind.to_le_bytes().to_vec(), (count as u64).to_le_bytes().to_vec()].concat();
        self.typed(key, ARRAY, [head, items].concat());
    }

    pub(super) fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        self.list(key, STRING, values.len(), values.iter().flat_map(|value| spelled(value.as_ref())).collect());
    }

    pub(super) fn ints(&mut self, key: &str, values: &[i32]) {
        self.list(key, INT32, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    pub(super) fn floats(&mut self, key: &str, values: &[f32]) {
        self.list(key, FLOAT32, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    pub(super) fn pairs(&self) -> &[(String, Vec<u8>)] {
        &self.pairs
    }
}
