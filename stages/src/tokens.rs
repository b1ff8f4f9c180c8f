//! The tokens artifact: rows of token ids with their loss mask, part by part, in one memory-mapped safetensors file.
//!
//! | tensor | type | holds |
//! | --- | --- | --- |
//! | `{part}.ids` | U32 `[tokens]` | token ids of all rows, one after another |
//! | `{part}.mask` | U8 `[tokens]` | 1 where the token is a target of the loss, else 0 |
//! | `{part}.offsets` | U64 `[rows + 1]` | where each row starts; the last entry is the number of tokens |
//! | `{part}.pair` | U32 `[rows]` | of preferences: which rows answer the same question; chosen and rejected follow each other |
//! | `{part}.desired` | U8 `[rows]` | of preferences: 1 where the row's answer is to be given, 0 where it is to be avoided |
//!
//! The key `refit` of the file's metadata holds [`TokenFacts`] as JSON.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::{Path, PathBuf},
};

use refit_checkpoint::MappedFile;
use refit_engine::stage::{StageError, file_in};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorView},
};
use serde::{Deserialize, Serialize};

use crate::model_error::model_error;

/// The file of a tokens artifact.
pub const TOKENS_FILE: &str = "tokens.safetensors";

/// Raised when the layout changes.
const FORMAT: u32 = 1;

/// One key, so that the order of keys cannot change the bytes.
const METADATA_KEY: &str = "refit";

/// What made the tokens: training and evaluation refuse to mix two of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// The layout's version.
    format: u32,
    /// What the model calls itself.
    pub model: String,
    /// Digest of the tokenizer.
    pub tokenizer_digest: String,
    /// The chat template's Jinja text.
    pub template: String,
    /// Digest of the template with its special tokens.
    pub template_digest: String,
    /// The longest row there can be.
    pub max_length: usize,
}

impl TokenFacts {
    /// Facts of a model's tokenizer and template.
    pub fn new(
        model: impl Into<String>,
        tokenizer: &refit_checkpoint::Tokenizer,
        template: &refit_checkpoint::ChatTemplate,
        max_length: usize,
    ) -> Self {
        Self {
            format: FORMAT,
            model: model.into(),
            tokenizer_digest: tokenizer.digest().to_owned(),
            template: template.text().to_owned(),
            template_digest: template.digest().to_owned(),
            max_length,
        }
    }
}

/// A tokens artifact, mapped into memory.
pub struct Tokens {
    path: PathBuf,
    file: MappedFile,
    facts: TokenFacts,
    parts: BTreeMap<String, PartRanges>,
}

/// Byte ranges of a part's tensors in the file.
struct PartRanges {
    ids: Range<usize>,
    mask: Range<usize>,
    offsets: Range<usize>,
    /// Of preferences.
    pair: Option<Range<usize>>,
    desired: Option<Range<usize>>,
}

impl Tokens {
    /// Opens a tokens artifact, its folder or its one file, and checks that rows, masks and offsets fit together.
    pub fn open(input: &Path) -> Result<Self, StageError> {
        let path = file_in(input, TOKENS_FILE);
        let file = MappedFile::open(&path)
            .map_err(|error| model_error(&error).help("tokens come from a `tokenize` stage; run it again"))?;
        let (header_size, header) = SafeTensors::read_metadata(&file)
            .map_err(|cause| damaged(&path, "its header is not that of a safetensors file").caused_by(&cause))?;
        let facts = read_facts(&header, &path)?;
        let start = header_size + 8;
        let mut parts = BTreeMap::new();
        for name in header.tensors().keys().filter_map(|name| name.strip_suffix(".ids")) {
            let range = |tensor: &str, dtype: Dtype| {
                let name = format!("{name}.{tensor}");
                let info = header.info(&name).filter(|info| info.dtype == dtype && info.shape.len() == 1);
                let info = info.ok_or_else(|| damaged(&path, &format!("`{name}` is missing or of another type")))?;
                Ok::<_, StageError>(start + info.data_offsets.0..start + info.data_offsets.1)
            };
            let has = |tensor: &str| header.info(&format!("{name}.{tensor}")).is_some();
            let preferences = has("pair") || has("desired");
            let ranges = PartRanges {
                ids: range("ids", Dtype::U32)?,
                mask: range("mask", Dtype::U8)?,
                offsets: range("offsets", Dtype::U64)?,
                pair: preferences.then(|| range("pair", Dtype::U32)).transpose()?,
                desired: preferences.then(|| range("desired", Dtype::U8)).transpose()?,
            };
            parts.insert(name.to_owned(), ranges);
        }
        let tokens = Self { path, file, facts, parts };
        for (name, ranges) in &tokens.parts {
            if !tokens.rows(ranges).is_some_and(|rows| rows.fit_together()) {
                return Err(damaged(&tokens.path, &format!("ids, mask and offsets of `{name}` do not fit together")));
            }
        }
        Ok(tokens)
    }

    /// The rows of a part, `train` or `validation`, if the artifact has it.
    pub fn part(&self, name: &str) -> Option<Rows<'_>> {
        self.rows(self.parts.get(name)?)
    }

    /// The names of the parts, sorted.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// What made the tokens.
    pub fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn rows(&self, ranges: &PartRanges) -> Option<Rows<'_>> {
        Some(Rows {
            ids: bytemuck::try_cast_slice(self.file.get(ranges.ids.clone())?).ok()?,
            mask: self.file.get(ranges.mask.clone())?,
            offsets: bytemuck::try_cast_slice(self.file.get(ranges.offsets.clone())?).ok()?,
            preferences: match (&ranges.pair, &ranges.desired) {
                (Some(pair), Some(desired)) => Some(Preferences {
                    pair: bytemuck::try_cast_slice(self.file.get(pair.clone())?).ok()?,
                    desired: self.file.get(desired.clone())?,
                }),
                _ => None,
            },
        })
    }
}

fn read_facts(header: &Metadata, path: &Path) -> Result<TokenFacts, StageError> {
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY)).ok_or_else(|| {
        damaged(path, "it is a safetensors file, but not of tokens").help("tokens come from a `tokenize` stage")
    })?;
    let facts: TokenFacts =
        serde_json::from_str(text).map_err(|cause| damaged(path, "its metadata cannot be read").caused_by(&cause))?;
    if facts.format != FORMAT {
        return Err(damaged(path, &format!("it has the format {}, this version reads {FORMAT}", facts.format)));
    }
    Ok(facts)
}

fn damaged(path: &Path, what: &str) -> StageError {
    StageError::new("tokens::unusable", format!("the tokens cannot be used: {what}"))
        .at(path)
        .help("run the `tokenize` stage again")
}

/// Rows of one part.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    ids: &'a [u32],
    mask: &'a [u8],
    offsets: &'a [u64],
    preferences: Option<Preferences<'a>>,
}

/// What the answers of rows are worth.
#[derive(Debug, Clone, Copy)]
pub struct Preferences<'a> {
    /// Rows of one number answer the same question; chosen and rejected follow each other.
    pub pair: &'a [u32],
    /// 1 where the answer is to be given, 0 where it is to be avoided.
    pub desired: &'a [u8],
}

impl Preferences<'_> {
    /// Whether there is a chosen and a rejected answer to every question, rather than answers by themselves.
    pub fn are_pairs(&self) -> bool {
        self.pair.len().is_multiple_of(2)
            && self.pair.chunks_exact(2).all(|pair| pair[0] == pair[1])
            && self.desired.chunks_exact(2).all(|pair| pair == [1, 0])
    }
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Token ids and loss mask (1 for a target, else 0) of a row; both as long as the row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn get(&self, row: usize) -> (&'a [u32], &'a [u8]) {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        (&self.ids[range.clone()], &self.mask[range])
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u32], &'a [u8])> + use<'a> {
        let rows = *self;
        (0..rows.len()).map(move |row| rows.get(row))
    }

    /// What the answers are worth, if the rows say so.
    pub fn preferences(&self) -> Option<Preferences<'a>> {
        self.preferences
    }

    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Targets of all rows.
    pub fn supervised(&self) -> usize {
        self.mask.iter().map(|target| usize::from(*target)).sum()
    }

    /// The tokens of the longest row.
    pub fn longest(&self) -> usize {
        self.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)
    }

    fn fit_together(&self) -> bool {
        self.offsets.first() == Some(&0)
            && self.offsets.last() == Some(&(self.ids.len() as u64))
            && self.offsets.is_sorted()
            && self.mask.len() == self.ids.len()
            && self.mask.iter().all(|target| *target <= 1)
            && self.preferences.is_none_or(|known| {
                known.pair.len() == self.len()
                    && known.desired.len() == self.len()
                    && known.desired.iter().all(|desired| *desired <= 1)
            })
    }
}

/// Rows of one part in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRows {
    ids: Vec<u32>,
    mask: Vec<u8>,
    ends: Vec<u64>,
    /// Of preferences: one for each row.
    pair: Vec<u32>,
    desired: Vec<u8>,
}

impl TokenRows {
    /// Adds a row; ids and mask are of the same length.
    pub fn push(&mut self, ids: &[u32], mask: impl IntoIterator<Item = bool>) {
        self.ids.extend_from_slice(ids);
        self.mask.extend(mask.into_iter().map(u8::from));
        debug_assert_eq!(self.ids.len(), self.mask.len());
        self.ends.push(self.ids.len() as u64);
    }

    /// Says of the row added last which question it answers and whether its answer is to be given. It is said of every
    /// row of a part or of none.
    pub fn prefer(&mut self, pair: u32, desired: bool) {
        self.pair.push(pair);
        self.desired.push(u8::from(desired));
        debug_assert_eq!(self.pair.len(), self.ends.len());
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Writes the parts as `tokens.safetensors` into an existing folder. The same rows give the same bytes.
    pub fn write(folder: &Path, parts: &BTreeMap<&str, Self>, facts: &TokenFacts) -> Result<(), StageError> {
        let path = folder.join(TOKENS_FILE);
        let failed = |cause: safetensors::SafeTensorError| match cause {
            safetensors::SafeTensorError::IoError(cause) => StageError::from(cause).at(&path),
            other => StageError::new("tokens::not_written", "the tokens could not be written").caused_by(&other),
        };
        let offsets: BTreeMap<&str, Vec<u64>> = parts
            .iter()
            .map(|(name, rows)| (*name, std::iter::once(0).chain(rows.ends.iter().copied()).collect()))
            .collect();
        let mut tensors = Vec::new();
        for (name, rows) in parts {
            let offsets = &offsets[name];
            let mut views: Vec<(&str, Dtype, usize, &[u8])> = vec![
                ("ids", Dtype::U32, rows.ids.len(), bytemuck::cast_slice(&rows.ids)),
                ("mask", Dtype::U8, rows.mask.len(), &rows.mask),
                ("offsets", Dtype::U64, offsets.len(), bytemuck::cast_slice(offsets)),
            ];
            if !rows.pair.is_empty() {
                views.push(("pair", Dtype::U32, rows.pair.len(), bytemuck::cast_slice(&rows.pair)));
                views.push(("desired", Dtype::U8, rows.desired.len(), &rows.desired));
            }
            for (tensor, dtype, count, bytes) in views {
                tensors.push((format!("{name}.{tensor}"), TensorView::new(dtype, vec![count], bytes).map_err(failed)?));
            }
        }
        let facts = serde_json::to_string(facts).map_err(std::io::Error::from)?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), facts)]);
        safetensors::serialize_to_file(tensors, Some(metadata), &path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> TokenFacts {
        TokenFacts {
            format: FORMAT,
            model: "tiny".into(),
            tokenizer_digest: "b3:1".into(),
            template: "{{ messages }}".into(),
            template_digest: "b3:2".into(),
            max_length: 8,
        }
    }

    fn rows() -> BTreeMap<&'static str, TokenRows> {
        let mut train = TokenRows::default();
        train.push(&[5, 6, 7], [false, true, true]);
        train.push(&[9], [true]);
        BTreeMap::from([("train", train), ("validation", TokenRows::default())])
    }

    #[test]
    fn rows_come_back() {
        let folder = tempfile::tempdir().unwrap();
        TokenRows::write(folder.path(), &rows(), &facts()).unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        assert_eq!(tokens.parts().collect::<Vec<_>>(), ["train", "validation"]);
        assert_eq!(tokens.facts(), &facts());
        let train = tokens.part("train").unwrap();
        assert_eq!((train.len(), train.tokens(), train.supervised(), train.longest()), (2, 4, 3, 3));
        assert_eq!(train.get(0), (&[5, 6, 7][..], &[0, 1, 1][..]));
        assert_eq!(train.iter().nth(1), Some((&[9][..], &[1][..])));
        assert!(tokens.part("validation").unwrap().is_empty());
        assert!(tokens.part("test").is_none());
        assert!(Tokens::open(&folder.path().join(TOKENS_FILE)).is_ok());
    }

    #[test]
    fn preferences_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut train = TokenRows::default();
        for pair in 0..2 {
            for desired in [true, false] {
                train.push(&[5, 6 + u32::from(desired)], [false, true]);
                train.prefer(pair, desired);
            }
        }
        TokenRows::write(folder.path(), &BTreeMap::from([("train", train)]), &facts()).unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        let known = tokens.part("train").unwrap().preferences().unwrap();
        assert_eq!((known.pair, known.desired), (&[0, 0, 1, 1][..], &[1, 0, 1, 0][..]));
        assert!(known.are_pairs());
        assert!(!Preferences { pair: &[0, 1], desired: &[1, 0] }.are_pairs());
        assert!(!Preferences { pair: &[0, 0], desired: &[0, 1] }.are_pairs());
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let bytes = || {
            let folder = tempfile::tempdir().unwrap();
            TokenRows::write(folder.path(), &rows(), &facts()).unwrap();
            fs_err::read(folder.path().join(TOKENS_FILE)).unwrap()
        };
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        TokenRows::write(folder.path(), &rows(), &facts()).unwrap();
        let path = folder.path().join(TOKENS_FILE);
        let whole = fs_err::read(&path).unwrap();
        let opened = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            Tokens::open(folder.path()).err().map(|error| error.code)
        };
        assert_eq!(opened(&whole), None);
        assert_eq!(opened(&whole[..whole.len() - 1]).as_deref(), Some("tokens::unusable"));
        let mut mask = whole.clone();
        *mask.last_mut().unwrap() = 2;
        assert_eq!(opened(&mask).as_deref(), Some("tokens::unusable"));
        let other = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
        assert_eq!(opened(&other).as_deref(), Some("tokens::unusable"));
        assert_eq!(opened(&[]).as_deref(), Some("weights::empty"));
    }
}
