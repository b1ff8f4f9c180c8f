use std::{collections::BTreeMap, ops::Range, path::Path};

use super::{
    reader::Reader,
    value::{Value, wrong_type},
};
use crate::{
    CheckpointError, HostTensor,
    map::MappedFile,
    numbers::{self, NumberFormat},
};

/// A GGUF file: metadata and tensor list parsed and checked, data mapped.
#[derive(Debug)]
pub(crate) struct GgufFile {
    file: MappedFile,
    metadata: BTreeMap<String, Value>,
    /// Keys in the file's order, and where their values lie, types included.
    pairs: Vec<(String, Range<usize>)>,
    tensors: BTreeMap<String, TensorEntry>,
}

/// Where a tensor lies and how it is packed.
#[derive(Debug, Clone)]
pub(super) struct TensorEntry {
    /// Outermost size first, the reverse of the file's order.
    pub(super) shape: Vec<usize>,
    pub(super) format: NumberFormat,
    start: usize,
    end: usize,
}

/// A tensor as the header gives it.
struct RawEntry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    type_number: u32,
    offset: usize,
}

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: [u32; 2] = [2, 3];
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

impl GgufFile {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::parse(MappedFile::open(path)?).map_err(|error| error.at(path))
    }

    fn parse(file: MappedFile) -> Result<Self, CheckpointError> {
        let mut reader = Reader::new(&file, 0);
        check_start(&mut reader, &file)?;
        // A tensor takes at least its name's length, dimensions, type and offset; a pair its key's length, type, value.
        let tensor_count = reader.count(24, "the list of tensors")?;
        let pair_count = reader.count(13, "the metadata")?;
        let (mut metadata, mut pairs) = (BTreeMap::new(), Vec::new());
        for _ in 0..pair_count {
            let key = reader.string("a metadata key")?;
            let start = reader.position();
            let kind = reader.u32(key)?;
            let value = Value::read(&mut reader, kind, key)?;
            pairs.push((key.to_owned(), start..reader.position()));
            if metadata.insert(key.to_owned(), value).is_some() {
                return Err(CheckpointError::new(
                    "gguf::duplicate_key",
                    format!("the metadata `{key}` stands there twice"),
                ));
            }
        }
        let entries = (0..tensor_count).map(|_| raw_entry(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(&metadata)?;
        let data = reader
            .position()
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| CheckpointError::new("gguf::malformed", "the header has an absurd size"))?;
        let mut tensors = BTreeMap::new();
        for entry in entries {
            let name = entry.name.to_owned();
            let placed = entry.place(data, alignment, file.len())?;
            if tensors.insert(name.clone(), placed).is_some() {
                return Err(CheckpointError::new(
                    "gguf::duplicate_tensor",
                    format!("the tensor `{name}` stands there twice"),
                ));
            }
        }
        check_overlap(&tensors)?;
        Ok(Self { file, metadata, pairs, tensors })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether the file has a tensor of that name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// The metadata as the file spells it: each key with its value, type first.
    pub(crate) fn raw_pairs(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs.iter().map(|(key, range)| (key.as_str(), &self.file[range.clone()]))
    }

    /// A tensor as it lies in the file.
    pub(crate) fn tensor(&self, name: &str) -> Option<HostTensor> {
        let entry = self.entry(name)?;
        Some(HostTensor { shape: entry.shape.clone(), values: entry.format.decode(self.bytes(entry)) })
    }

    pub(super) fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    pub(super) fn bytes(&self, entry: &TensorEntry) -> &[u8] {
        &self.file[entry.start..entry.end]
    }

    /// Gives the memory of a tensor's bytes back.
    pub(super) fn release(&self, entry: &TensorEntry) {
        self.file.release(entry.start..entry.end);
    }

    /// A text, or `None` when the key is absent.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(key, "a text").at(self.path())),
        }
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(wrong_type(key, "true or false").at(self.path())),
        }
    }

    /// A count or id, or `None` when the key is absent.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        let found = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(value)) => usize::try_from(*value).ok(),
            Some(Value::Signed(value)) => usize::try_from(*value).ok(),
            Some(_) => None,
        };
        found.map(Some).ok_or_else(|| wrong_type(key, "a count").at(self.path()))
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Unsigned(value)) => Ok(Some(*value as f64)),
            Some(_) => Err(wrong_type(key, "a number").at(self.path())),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => array.texts(&self.file, key).map(Some).map_err(|error| error.at(self.path())),
            Some(_) => Err(wrong_type(key, "a list of texts").at(self.path())),
        }
    }

    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => {
                array.numbers(&self.file, key).map(Some).map_err(|error| error.at(self.path()))
            }
            Some(_) => Err(wrong_type(key, "a list of numbers").at(self.path())),
        }
    }
}

fn check_start(reader: &mut Reader<'_>, file: &[u8]) -> Result<(), CheckpointError> {
    if !file.starts_with(MAGIC) {
        let looks_like_safetensors = file.len() > 9 && file[8] == b'{';
        let help = if looks_like_safetensors {
            "this looks like a safetensors file; name the folder that holds it together with config.json"
        } else {
            "a model is a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or one GGUF file"
        };
        return Err(CheckpointError::new("gguf::wrong_magic", "the file is not a GGUF file").with_help(help));
    }
    reader.take(MAGIC.len(), "the magic number")?;
    let version = reader.u32("the version")?;
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let message = if VERSIONS.contains(&version.swap_bytes()) {
        "the GGUF file was written for big-endian machines".to_owned()
    } else {
        format!("the GGUF file has version {version}; supported are 2 and 3")
    };
    Err(CheckpointError::new("gguf::unsupported_version", message).with_help("convert the model again with llama.cpp"))
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<usize, CheckpointError> {
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Unsigned(value)) => *value,
        Some(_) => return Err(wrong_type("general.alignment", "a count")),
    };
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        return Err(CheckpointError::new("gguf::bad_alignment", format!("the alignment {alignment} is not possible")));
    }
    Ok(alignment as usize)
}

fn raw_entry<'a>(reader: &mut Reader<'a>) -> Result<RawEntry<'a>, CheckpointError> {
    let name = reader.string("a tensor's name")?;
    let dimensions = reader.u32(name)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(CheckpointError::new(
            "gguf::bad_tensor",
            format!("the tensor `{name}` claims {dimensions} dimensions; {MAX_DIMENSIONS} are possible"),
        ));
    }
    let mut shape = (0..dimensions).map(|_| reader.size(name)).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    Ok(RawEntry { name, shape, type_number: reader.u32(name)?, offset: reader.size(name)? })
}

impl RawEntry<'_> {
    /// Finds the tensor's bytes and checks that they are all inside the file.
    fn place(self, data: usize, alignment: usize, file_size: usize) -> Result<TensorEntry, CheckpointError> {
        let name = self.name;
        let format = numbers::ggml_format(self.type_number).ok_or_else(|| {
            CheckpointError::new(
                "gguf::unsupported_type",
                format!("the tensor `{name}` is packed as ggml type {}, which is not supported", self.type_number),
            )
            .with_help(format!("take a file packed as one of {}", numbers::ggml_names()))
        })?;
        if !self.offset.is_multiple_of(alignment) {
            return Err(CheckpointError::new(
                "gguf::misaligned_tensor",
                format!("the tensor `{name}` starts at {}, which is no multiple of {alignment}", self.offset),
            ));
        }
        let row = self.shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(format.values()) {
            return Err(CheckpointError::new(
                "gguf::bad_tensor",
                format!(
                    "rows of {row} values in `{name}` do not fill blocks of {} ({})",
                    format.values(),
                    format.name()
                ),
            ));
        }
        let range = (|| {
            let values = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
            let size = format.bytes_of(values)?;
            let start = data.checked_add(self.offset)?;
            let end = start.checked_add(size)?;
            (end <= file_size).then_some((start, end))
        })();
        let (start, end) = range.ok_or_else(|| {
            CheckpointError::new(
                "gguf::tensor_outside_file",
                format!("the tensor `{name}` {:?} does not fit into the file of {file_size} bytes", self.shape),
            )
            .with_help("the file was not fetched whole; fetch it again")
        })?;
        Ok(TensorEntry { shape: self.shape, format, start, end })
    }
}

fn check_overlap(tensors: &BTreeMap<String, TensorEntry>) -> Result<(), CheckpointError> {
    let mut placed: Vec<_> = tensors.iter().filter(|(_, entry)| entry.start < entry.end).collect();
    placed.sort_by_key(|(_, entry)| entry.start);
    for pair in placed.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if a.end > b.start {
            return Err(CheckpointError::new(
                "gguf::overlapping_tensors",
                format!("the tensors `{first}` and `{second}` overlap in the file"),
            )
            .with_help("the file is damaged; fetch it again"));
        }
    }
    Ok(())
}
